"""Figures, one file per branch."""
