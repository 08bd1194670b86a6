"""What a run is in the store: its keys, record, claims, inputs and rows."""
