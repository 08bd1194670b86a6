"""Values that name something: a candidate, a prior, a metric. Each is checked where it is set."""

from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo

from orchestrator.settings.trust import may_import
from workers.names import generator_of
from workers.space import Candidate, InvalidCandidateError


def _existing_candidate(value: object) -> object:
    try:
        return Candidate.parse(value).id if isinstance(value, str) else value
    except InvalidCandidateError as error:
        raise ValueError(str(error)) from None


CandidateId = Annotated[str, BeforeValidator(_existing_candidate)]


def _existing_prior(value: object) -> object:
    # Imported here: priors are torch modules, and most settings name none.
    from workers.networks.priors import prior_of  # noqa: PLC0415

    try:
        # Whether there is a generator of a name, the settings as a whole know.
        if isinstance(value, str) and generator_of(value) is None:
            return prior_of(value).id
    except InvalidCandidateError as error:
        raise ValueError(str(error)) from None
    return value


def _known_metric(value: object, info: ValidationInfo) -> object:
    from workers.metrics import is_ours, resolve_metric  # noqa: PLC0415 - what it imports, --help does not need

    if not isinstance(value, str) or value in ("psd db strip mse", "random", "learnt"):
        return value
    if is_ours(value) or may_import(value, info.context):
        resolve_metric(value)
    return value


PriorId = Annotated[str, BeforeValidator(_existing_prior)]
MetricName = Annotated[str, BeforeValidator(_known_metric)]


def check_width(width: int, network: str, what: str) -> None:
    """Check that a network can be built at a width.

    Args:
        width: the setting ``network.width``.
        network: the name of a prior.
        what: the network in the words of the message.

    Raises:
        ValueError: it cannot.
    """
    # Imported here: priors are torch modules, and most settings name none.
    from workers.networks.priors import prior_of  # noqa: PLC0415

    if generator_of(network) is not None:
        return
    needed = prior_of(network).width_multiple
    if width % needed:
        raise ValueError(f"{what} needs a network.width that is a multiple of {needed}")
