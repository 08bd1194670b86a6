"""The resources of the machines, and the share that a trial may use."""
