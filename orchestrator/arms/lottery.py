"""The chains and rounds of an arm of a lottery, and the source of their masks."""

from collections.abc import Iterable

from orchestrator.arms.arm import Arm
from orchestrator.settings import Config
from workers.names import Chain, Round


def chains_of(config: Config, arm: Arm, network: str) -> list[Chain]:
    """The chains of a lottery's arm, the dense ones first."""
    assert arm.method is not None  # noqa: S101 - others have none
    chains = [Chain(network, arm.method, number, arm.source) for number in range(config.lottery.initialisations)]
    if not arm.traits.prunes or is_moved(config, arm):
        return chains
    # The dense network is every method's round 0.
    return [*(chain.dense for chain in chains), *chains]


def is_moved(config: Config, arm: Arm) -> bool:
    """Whether a lottery's tickets come from another run."""
    return arm.source is not None and config.lottery.tickets is not None


def rounds_in(config: Config, arms: Iterable[Arm]) -> set[Round]:
    """All rounds that the lotteries of a run fit an image in. Arms share common rounds."""
    lotteries = [arm for arm in arms if arm.is_lottery]
    chains = {chain for arm in lotteries for chain in chains_of(config, arm, (arm.networks or ("picked",))[0])}
    return {chain.round(number) for chain in chains for number in rounds_of(config, chain)}


def rounds_of(config: Config, chain: Chain) -> list[int]:
    """The rounds of a chain, each of them a fit."""
    if not chain.traits.many_rounds:
        return [0]
    return config.lottery.fit_rounds or list(range(1, config.lottery.rounds + 1))


def finds_apart(config: Config, chain: Chain) -> bool:
    """Whether a chain's masks are all found before its rounds are fitted, and not by the fits themselves."""
    own = chain.source is None and not config.lottery.together
    return not (chain.traits.round_by_round and own and config.lottery.target == "observed")
