"""``emtools impute``: the gaps of a table."""
