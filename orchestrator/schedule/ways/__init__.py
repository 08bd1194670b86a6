"""The ways of images and arms through a run, as state machines: events go in, wishes come out."""
