"""The networks that serve as priors. `build` makes one from a candidate of the search space."""

from workers.networks.search import SearchNetwork, build, noise_input

__all__ = ["SearchNetwork", "build", "noise_input"]
