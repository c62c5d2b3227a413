"""One room per analysis: read, fit, write."""
