"""Picking one network without seeing the clean image."""
