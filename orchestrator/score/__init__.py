"""Candidates scored by their untrained output."""
