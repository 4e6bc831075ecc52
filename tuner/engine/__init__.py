"""Ray Tune as the engine: thin adapters that carry out what the core decides."""
