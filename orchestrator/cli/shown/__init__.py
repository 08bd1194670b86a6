"""Output of the commands: plans, progress, rows and figures."""
