"""Models to tune: one a file, each read from top to bottom; their data sets are in `trainables.data`."""
