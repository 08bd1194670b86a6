"""Images taken in: found, looked at, brought to the store."""
