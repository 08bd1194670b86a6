"""A store that is looked after: verified and repaired, sizes, runs tried again, deleted, exported and imported, what no
run names pruned.
"""
