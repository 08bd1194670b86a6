import pytest
import torch

from workers.stopping import RULES, RunningVariance, WindowedVariance, rule_of

ERROR, VARIANCE = torch.tensor(1.0), torch.tensor(2.0)


def test_every_rule_watches_its_criterion_and_follows_a_variance() -> None:
    assert {name: rule.criterion(ERROR, VARIANCE).item() for name, rule in RULES.items()} == {
        "held-out": 1.0,
        "es-wmv": 2.0,
        "es-emv": 2.0,
    }
    output = torch.zeros(1, 3, 2, 2)
    assert {name: type(rule.variance(output)) for name, rule in RULES.items()} == {
        "held-out": RunningVariance,
        "es-wmv": WindowedVariance,
        "es-emv": RunningVariance,
    }


@pytest.mark.parametrize(
    ("name", "correlated", "rule"),
    [
        ("auto", False, "held-out"),
        ("auto", True, "es-emv"),
        ("held-out", True, "held-out"),
        ("es-wmv", True, "es-wmv"),
        ("es-emv", False, "es-emv"),
    ],
)
def test_a_named_rule_stands_and_auto_goes_by_the_noise(name: str, correlated: bool, rule: str) -> None:
    assert rule_of(name, correlated=correlated) is RULES[rule]


def test_held_out_pixels_alone_are_misled_by_correlated_noise() -> None:
    assert {name: rule.where_correlated for name, rule in RULES.items()} == {
        "held-out": "es-emv",
        "es-wmv": "es-wmv",
        "es-emv": "es-emv",
    }
