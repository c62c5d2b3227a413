"""``emtools motif``: sites and shape of motifs."""
