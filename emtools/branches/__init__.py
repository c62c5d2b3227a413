"""One module per analysis: read, fit, write."""
