"""Ours against named peers: same data, same start, same number of passes, in one run.

Importing this package pins BLAS and OpenMP to one thread for both sides, before numpy is loaded.
"""

from emtools.cli import pin_threads

pin_threads()
