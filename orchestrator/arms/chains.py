"""Lotteries as data: their budget, their seeds, and how many weights their rounds keep.

The initial weights of a chain are a function of the run's seed, the network and the initialisation, and of no image, so
that masks can be moved and found together. The noise of a round's fit is the same for all methods: they differ in their
masks.
"""

from functools import cache

from orchestrator.arms.lottery import chains_of, finds_apart, is_moved
from orchestrator.arms.resolve import arms_of
from orchestrator.run.inputs import InputImage
from orchestrator.settings import Config
from workers.lottery.masks import kept_after, prunable
from workers.names import Chain
from workers.networks import Network, parameter_count, prior_of
from workers.seeds import generator_of, seed_of


def iterations_of(config: Config) -> int:
    """Iterations of every round. All of them run, so that the curve shows the part after the best."""
    return config.lottery.iterations or config.fit.iterations


def fit_seed(config: Config, image: InputImage, chain: Chain, number: int) -> int:
    """The seed of a round's noise. All methods share it: they differ only in their masks."""
    return seed_of(config.seed, image.id, "lottery", chain.network, chain.initialisation, number)


def search_iterations(config: Config) -> int:
    """How many iterations an image's mask searches take, besides the fits of its rounds."""
    lottery, total = config.lottery, 0
    for arm in arms_of(config):
        if not arm.is_lottery or is_moved(config, arm):
            continue
        if arm.traits.learns_masks:
            total += lottery.oes_iterations or iterations_of(config)
        if arm.traits.round_by_round:
            total += lottery.rewind
            if finds_apart(config, chains_of(config, arm, "any")[-1]):
                total += lottery.rounds * iterations_of(config)
    return total * lottery.initialisations


def weights_seed(config: Config, chain: Chain) -> int:
    """The seed of a chain's initial weights."""
    seed = config.seed if config.lottery.seed is None else config.lottery.seed
    return seed_of(seed, "lottery", chain.network, chain.initialisation)


def initial_network(config: Config, chain: Chain, channels: int) -> Network:
    """A chain's network with its initial weights."""
    return prior_of(chain.network).build(
        channels,
        config.network.width,
        input_channels=config.network.input_depth(channels),
        generator=generator_of("fit weights", weights_seed(config, chain)),
    )


def check_lottery(config: Config) -> None:
    """Check that the exempt convolutions exist.

    Raises:
        ValueError: a pattern matches no convolution, or nothing is left to prune.
    """
    networks = {name for arm in arms_of(config) if arm.is_lottery for name in arm.networks or ()}
    for name in networks:
        prunable(prior_of(name).declare(3, config.network.width, input_channels=3), config.lottery.exempt)


def kept(config: Config, network: Network, number: int) -> int:
    """How many prunable weights a round keeps: the same number for every method."""
    weights = sum(layer.weight.numel() for layer in prunable(network, config.lottery.exempt).values())
    return kept_after(weights, config.lottery.rate, number)


@cache
def _decoder_parameters(channels: int, out_channels: int) -> int:
    return parameter_count(prior_of(f"deep-decoder-{channels}").declare(out_channels, 1, input_channels=1))


def decoder_name(config: Config, network: str, number: int, out_channels: int) -> str:
    """The largest deep decoder that has no more parameters than a round leaves of a network."""
    depth = config.network.input_depth(out_channels)
    declared = prior_of(network).declare(out_channels, config.network.width, input_channels=depth)
    # Only weights of convolutions are pruned; biases and normalisation are parameters too.
    most = parameter_count(declared) - kept(config, declared, 0) + kept(config, declared, number)
    least, above = 4, 1025
    while above - least > 1:
        middle = (least + above) // 2
        least, above = (middle, above) if _decoder_parameters(middle, out_channels) <= most else (least, middle)
    return f"deep-decoder-{least}"
