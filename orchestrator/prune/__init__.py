"""Lottery tickets: chains of pruning, found and moved."""
