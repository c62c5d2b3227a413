"""Ours against named peers: same data, same start, same number of passes, in one run."""
