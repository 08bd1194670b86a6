"""The candidates that a run scores, and the metrics that it scores them by."""

from orchestrator.arms.resolve import arms_of
from orchestrator.settings import Config
from workers.space import Candidate, sample_candidates


def candidates_of(config: Config) -> list[Candidate]:
    """The candidates of a run, in order."""
    wanted = config.score.candidates
    if isinstance(wanted, int):
        return sample_candidates(wanted, config.score.seed, width=config.network.width)
    return [Candidate.parse(text) for text in wanted]


def metrics_of(config: Config) -> tuple[str, ...]:
    """The metrics that a run computes for every candidate: first those that its arms choose by, then ``score.also``."""
    choosing = [arm.metric for arm in arms_of(config) if arm.networks is None and not arm.is_lottery]
    return tuple(dict.fromkeys([*choosing, *config.score.also]))
