"""Pure functions of arrays: no objects, no files, no logging."""
