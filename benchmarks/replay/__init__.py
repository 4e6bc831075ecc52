"""What `benchmarks/search.py` is made of: recorded tables, a virtual clock, the methods, the report."""
