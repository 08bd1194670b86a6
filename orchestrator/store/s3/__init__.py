"""A bucket of S3, or of a service that speaks its protocol, as a store: its URL, its errors, its connections."""
