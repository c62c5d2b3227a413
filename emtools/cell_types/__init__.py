"""Cell types from the columns of a representation: the default search, calibrated probabilities, labels and markers."""
