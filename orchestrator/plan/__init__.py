"""The plan of a run: decided before the run does anything."""
