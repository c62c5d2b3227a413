"""``emtools hmm``: letters by their states, and tracks by their levels."""
