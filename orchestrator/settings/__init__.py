"""What may be set, in which units and ranges."""
