"""What the machines have, and what a trial may use."""
