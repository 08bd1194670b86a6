"""Checks that everything is in place for a run."""
