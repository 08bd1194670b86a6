"""From a plan to a finished run: on this machine, on a cluster, or handed over."""
