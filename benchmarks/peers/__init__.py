"""The contenders of overhead.py, each a command of its own."""
