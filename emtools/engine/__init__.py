"""The engine: one loop that climbs any likelihood whose expected statistics add."""
