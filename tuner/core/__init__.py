"""The pure core: events in, one record out for each, and the state that records make."""
