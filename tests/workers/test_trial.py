from itertools import count

import pytest
import torch

from workers.networks import prior_of
from workers.networks import trial as module
from workers.networks.steps import Step
from workers.networks.trial import fastest_step
from workers.seeds import generator_of

TRIED = [Step.CHANNELS_LAST, Step.TORCH, Step.CONTIGUOUS, Step.WINOGRAD]


@pytest.mark.parametrize(
    ("seconds", "fastest"),
    [
        ((9, 8, 5, 7), Step.CONTIGUOUS),
        ((9, 9, 9, 7), Step.WINOGRAD),
        ((9, 7, 9, 9), Step.TORCH),
        ((5, 6, 9, 7), Step.CHANNELS_LAST),
        # The usual one stays where nothing is gained but by chance, and gives nothing away.
        ((1000, 995, 1000, 1000), Step.CHANNELS_LAST),
        ((1000, 1000, 980, 1000), Step.CONTIGUOUS),
    ],
)
def test_the_fastest_by_the_clock_is_taken_if_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[int, int, int, int], fastest: Step
) -> None:
    now, spent = [0], dict(zip(TRIED, seconds, strict=True))

    def one_step(network: object, step: Step, height: int, width: int) -> object:
        def advance() -> None:
            now[0] += spent[step]

        return advance

    monkeypatch.setattr(module, "_one_step", one_step)
    network = prior_of("dip").build(1, 64, input_channels=1)
    assert fastest_step(network, 64, 64, lambda: now[0]) is fastest


def test_equal_ways_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(module, "_one_step", lambda network, step, height, width: tried.append(step) or (lambda: None))
    fastest_step(prior_of("dip").build(1, 32, input_channels=1), 64, 64)
    assert tried == [Step.CHANNELS_LAST, Step.TORCH, Step.CONTIGUOUS]


def test_a_trial_leaves_the_network_as_it_is() -> None:
    network = prior_of("dip").build(1, 4, input_channels=1, generator=generator_of("weights"))
    before = {name: (value.clone(), value.stride()) for name, value in network.state_dict().items()}
    ticks = count()
    fastest_step(network, 64, 64, lambda: next(ticks))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name][0])
        assert value.stride() == before[name][1]
    assert all(parameter.grad is None for parameter in network.parameters())
