"""Scoring candidates by their untrained output."""
