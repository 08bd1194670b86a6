from dataclasses import replace
from typing import Any

import pytest

from orchestrator.arms.chains import check_lottery, iterations_of, weights_seed
from orchestrator.settings import Config
from tests.orchestrator.conftest import MakeConfig
from workers.names import METHODS, Chain

DECODER = "deep-decoder-8"
CHAIN = Chain(DECODER, "imp", 0)


def settings(make_config: MakeConfig, *, arms: list[Any] | None = None, seed: int = 0, **lottery: Any) -> Config:
    """A lottery of two rounds, in each of which a quarter of the weights goes."""
    lottery = {"network": DECODER, "initialisations": 2, "rounds": 2, "rate": 0.25} | lottery
    return make_config(
        arms=arms or ["lottery-imp"], seed=seed, lottery=lottery, fit={"iterations": 2, "patience": 2, "block": 2}
    )


def with_seed(config: Config, seed: int) -> Config:
    """The same settings with a seed of the lottery's own."""
    return config.model_copy(update={"lottery": config.lottery.model_copy(update={"seed": seed})})


def test_a_chain_s_weights_follow_its_network_its_initialisation_and_the_seed_alone(make_config: MakeConfig) -> None:
    config = settings(make_config)
    seed = weights_seed(config, CHAIN)
    for method in METHODS:
        assert weights_seed(config, Chain(DECODER, method, 0)) == seed
        assert weights_seed(config, Chain(DECODER, method, 0, "f16-5fb2ac1e")) == seed
    others = [
        weights_seed(config, replace(CHAIN, network="dip")),
        weights_seed(config, replace(CHAIN, initialisation=1)),
        weights_seed(settings(make_config, seed=1), CHAIN),
    ]
    assert len({seed, *others}) == 4
    # With a seed of its own it is that, whatever the run's is.
    own = {weights_seed(with_seed(settings(make_config, seed=number), 7), CHAIN) for number in (0, 3)}
    assert own == {weights_seed(settings(make_config, seed=7), CHAIN)}


def test_every_round_runs_all_its_iterations(make_config: MakeConfig) -> None:
    assert iterations_of(settings(make_config)) == 2
    assert iterations_of(settings(make_config, iterations=9)) == 9


def test_patterns_that_match_no_convolution_are_found_before_a_run(make_config: MakeConfig) -> None:
    check_lottery(settings(make_config, network="dip", exempt=["skips.*"]))
    check_lottery(settings(make_config, arms=["dip"], network="dip", exempt=["no.such"]))
    with pytest.raises(ValueError, match=r"no convolution matches 'no\.such'"):
        check_lottery(settings(make_config, network="dip", exempt=["no.such"]))
    with pytest.raises(ValueError, match="leave no convolution to prune"):
        check_lottery(settings(make_config, exempt=["*"]))
