"""The same job in plain Ray Tune, in plain Optuna and here: what is written, and what happens when something breaks."""
