"""One fit, from inputs in the store to results in the store."""
