"""The frozen description of an experiment, and how it is read from a file."""
