"""One fit as work on the store."""
