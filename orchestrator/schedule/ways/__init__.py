"""The ways of images and arms through a run, as state machines: what has happened in, what is wanted out."""
