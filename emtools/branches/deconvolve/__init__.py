"""``emtools deconvolve``: cells by their types, and mixtures by their fractions."""
