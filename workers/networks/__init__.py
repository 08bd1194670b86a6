"""The networks that serve as priors. `build` makes one from a candidate of the search space;
`prior_of` finds one by name.
"""

from workers.networks.priors import NAS_DIP, Prior, prior_of
from workers.networks.search import Network, SearchNetwork, build, noise_input, parameter_count

__all__ = ["NAS_DIP", "Network", "Prior", "SearchNetwork", "build", "noise_input", "parameter_count", "prior_of"]
