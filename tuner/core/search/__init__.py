"""How new params are found: one contract, one file for each kind of search."""
