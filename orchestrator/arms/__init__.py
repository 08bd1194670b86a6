"""Methods as data: the arms of a run."""
