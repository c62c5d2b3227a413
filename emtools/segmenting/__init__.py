"""Classes of the pixels of an image."""
