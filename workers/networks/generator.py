"""A trained generator as a prior: the latent z is sought whose image agrees with what was measured (CSGM: Bora et al.
2017, arXiv 1703.03208), alone, or then with the generator's weights (image-adaptive: Hussein et al. 2020, arXiv
1906.05284).

Other networks begin from random weights and a noise input that stays; a generator begins from its trained weights, and
what is random is z. A poor z leads to a poor image, so several are sought side by side, as one batch, and the hidden
measurements choose.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.generators import Facts, generate
from workers.networks.search import Network
from workers.views import padded_side


@dataclass(frozen=True)
class Search:
    """How a generator is fitted.

    Attributes:
        restarts: how many latents are sought side by side.
        latent_first: the iterations after which the weights are fitted too, beginning with the best latent; None fits
            the latent alone.
        rate: Adam's learning rate of the latent.
        weights_rate: that of the weights, which are trained already.
    """

    restarts: int = 4
    latent_first: int | None = None
    rate: float = 0.05
    weights_rate: float = 1e-4


class GeneratorNetwork(Network):
    """A generator with the latents that are sought. It pays no attention to the noise input.

    Maps anything to (restarts, C, H, W), or (1, C, H, W) once one is chosen, in [0, 1], and zero beyond the image where
    networks need larger sides.

    Args:
        module: the generator, from `workers.generators.load_generator`; it is the network's from now on.
        facts: what its images are.
        search: how it is fitted.
        random: the source of the latents, N(0, 1); None takes PyTorch's global one.
    """

    def __init__(self, module: nn.Module, facts: Facts, search: Search, random: torch.Generator | None = None) -> None:
        super().__init__()
        self.in_channels = 1
        self.members, self.turn, self.size = search.restarts, search.latent_first, facts.shape[1:]
        self._facts, self._search = facts, search
        self.latent = nn.Parameter(torch.randn(search.restarts, *facts.latent, generator=random))
        self.register_buffer("_chosen", torch.arange(search.restarts), persistent=False)
        self.module = module

    def input_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(1, 1, 1): nothing comes of the noise input."""
        return 1, 1, 1

    def fitted(self) -> list[nn.Parameter]:
        """The latents first; then the weights, where they are ever fitted."""
        return [self.latent] if self.turn is None else [self.latent, *self.module.parameters()]

    def rates(self, learning_rate: float) -> list[tuple[list[nn.Parameter], float]]:
        """The latents' rate and the weights'; that of untrained networks does not matter."""
        latent, *weights = self.fitted()
        return [([latent], self._search.rate), *([(weights, self._search.weights_rate)] if weights else [])]

    @torch.no_grad()
    def choose(self, member: Tensor) -> None:
        """Go on with one latent alone, and from now on with the weights, where they are fitted."""
        self._chosen, self.members = member.to(self.latent.device), 1
        for parameter in self.fitted():
            parameter.requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        """The images of the latents."""
        latents = self.latent.index_select(0, self._chosen)
        images = (generate(self.module, latents) - self._facts.low) / (self._facts.high - self._facts.low)
        height, width = images.shape[-2:]
        return F.pad(images, (0, padded_side(width) - width, 0, padded_side(height) - height))
