"""Runs on a cluster that is reached through its dashboard: submitted as jobs of Ray's, followed, and fetched."""
