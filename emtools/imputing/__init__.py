"""Everything that is asked of a table with gaps once a model of its rows is at hand: fits, draws, pooling, diagnostics."""
