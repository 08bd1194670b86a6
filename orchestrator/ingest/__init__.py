"""Taking in images: find them, check them, bring them to the store."""
