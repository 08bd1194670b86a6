"""Collecting an image: restored files, rows and the packed record, made from its finished fits."""
