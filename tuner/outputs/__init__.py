"""What people look at: observers of a live run, and projections that can be written again from the ledger."""
