"""The subject of a fit: the network to fit and how long.

Fitting knows no lottery. The caller of a fit hands over its subject: `prior_subject` makes that of a prior,
`orchestrator.prune.rounds` that of a round, and `orchestrator.schedule.trial` chooses between them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.fit.generators import generator_network
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.settings import ViewName
from workers.fitting import Fit
from workers.names import PriorName
from workers.networks import Network, parameter_count, prior_of
from workers.seeds import generator_of, seed_of

_SAME_WEIGHTS = 3
"""The first rules by which a part of an image and all of it are fitted by a network of the same initial weights."""


def _nothing(fit: Fit) -> None:
    pass


@dataclass(frozen=True)
class Subject:
    """A network to fit.

    Attributes:
        network: Its weights are trained in place.
        seed: The seed of the fit's noise.
        iterations: The largest number of iterations.
        patience: Iterations without a better held-out error before the fit may stop.
        parameters: How many parameters are fitted; for a pruned network those that are left.
        sparsity: The share of all convolution weights that a pruned network lacks; None for a prior.
        blind: False if the network was found on a clean reference.
        before_record: Called with the finished fit before its record is written, so that everything others need of the
            fit exists when it counts as done. It may raise `workers.fitting.FitDivergedError`.
    """

    network: Network
    seed: int
    iterations: int
    patience: int
    parameters: int
    sparsity: float | None = None
    blind: bool = True
    before_record: Callable[[Fit], None] = _nothing


def prior_subject(context: RunContext, image: InputImage, view: ViewName, name: PriorName) -> Subject:
    """Make a prior with fresh weights, which are a function of the run's seed, the image and the prior.

    They do not depend on the view, so a choice made on a part is a choice of these very weights. In runs begun before
    rules 3 they do.

    Raises:
        InvalidCandidateError: no prior has this name.
    """
    config = context.config
    of_view = [] if image.rules >= _SAME_WEIGHTS else [view]
    seed = seed_of(config.seed, image.id, *of_view, str(name))
    if config.generator(name.network) is not None:
        generator = generator_network(context, name, generator_of("fit weights", seed))
        # What is fitted in the end is one of the latents.
        latents = generator.latent.numel()
        count = sum(parameter.numel() for parameter in generator.fitted()) - latents + latents // generator.members
        return Subject(generator, seed, config.iterations(view), config.fit.patience, count)
    network = prior_of(name.network).build(
        image.channels,
        config.network.width,
        input_channels=config.network.input_depth(image.channels),
        generator=generator_of("fit weights", seed),
    )
    return Subject(network, seed, config.iterations(view), config.fit.patience, parameter_count(network))
