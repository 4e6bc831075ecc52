"""Proof: what this service costs beside bare loops, Ray's guide and plain Optuna."""
