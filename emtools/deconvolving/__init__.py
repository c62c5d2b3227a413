"""Amounts of cell types in mixtures, by a reference of single cells."""
