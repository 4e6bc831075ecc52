"""What `loggers:` asks for: a file of all values, and other people's services. All are projections of the ledger."""
