"""Whether everything is in place."""
