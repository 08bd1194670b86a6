"""One network chosen without seeing the truth."""
