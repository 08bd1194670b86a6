"""The page of a study, for researchers."""
