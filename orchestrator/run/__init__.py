"""A run in the store: its keys, record, claims, inputs and rows."""
