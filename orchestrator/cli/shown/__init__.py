"""What commands print: plans, progress, rows and figures."""
