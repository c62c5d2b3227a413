"""``emtools segment``: pixels of an image, of a batch of images, and rows of a table of features."""
