"""When to stop a fit without seeing the truth: the rules, one a file.

A rule watches a criterion whose minimum over the iterations is where to stop; `Patience` keeps the output there.
Everything here lives on the fit's device and is updated without asking the host. A new rule is a file here with a
subclass of `StoppingRule`, a line in `RULES`, and its name in ``fit.stopping`` of ``orchestrator/settings/fit.py``.
"""

from workers.stopping.es_emv import ExponentialVarianceRule, RunningVariance
from workers.stopping.es_wmv import WindowedVariance, WindowedVarianceRule
from workers.stopping.held_out import HeldOutRule, held_out_mask
from workers.stopping.patience import Patience
from workers.stopping.rule import StoppingRule

__all__ = [
    "RULES",
    "Patience",
    "RunningVariance",
    "StoppingRule",
    "WindowedVariance",
    "held_out_mask",
    "rule_of",
]

RULES: dict[str, StoppingRule] = {
    rule.name: rule for rule in (HeldOutRule(), WindowedVarianceRule(), ExponentialVarianceRule())
}
"""All rules by name."""


def rule_of(name: str, *, correlated: bool) -> StoppingRule:
    """The rule of this name. ``auto`` is held-out pixels, or the rule that replaces them where
    they are known to mislead.

    Args:
        name: one of `RULES`, or ``auto``.
        correlated: whether noise is known to be correlated between pixels.

    Raises:
        KeyError: there is no such rule.
    """
    if name != "auto":
        return RULES[name]
    rule = RULES[HeldOutRule.name]
    return RULES[rule.where_correlated] if correlated else rule
