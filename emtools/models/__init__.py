"""One file per model: parameters, statistics and the steps of the contract."""
