"""Image-specific architecture search with deep image priors, distributed with Ray."""

__version__ = "0.1.0"
