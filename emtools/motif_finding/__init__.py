"""Finding motifs: starts from enriched words, the number of sites and the width by evidence, significance."""
