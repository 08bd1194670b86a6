"""One script per published figure. Run them from the project's root: ``python -m benchmarks.fit --help``."""
