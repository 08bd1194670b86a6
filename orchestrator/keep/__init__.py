"""A store that is looked after: its size, runs deleted, what no run names pruned, runs exported and imported."""
