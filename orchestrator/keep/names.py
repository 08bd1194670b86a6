"""What each run of a store names: its inputs, its banks of fingerprints, and the run whose tickets it takes."""

from collections.abc import Iterator
from dataclasses import replace

from orchestrator.errors import OrchestratorError, StoreUnavailableError
from orchestrator.keep.decide import Known
from orchestrator.run.attempt import RunState
from orchestrator.run.inputs import Inputs, read_inputs
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.run.record import RunRecord, list_runs
from orchestrator.store import Store


def known_runs(store: Store, *, banks: bool = True) -> list[Known]:
    """All runs, with what they name; without ``banks`` these are not known.

    Raises:
        StoreUnavailableError: the store is in trouble.
    """
    records, unreadable = list_runs(store)
    known = [_known(store, record, banks=banks) for record in records]
    return known + [Known(each.run, "", None, None, None, why=each.reason) for each in unreadable]


def input_keys(inputs: Inputs) -> Iterator[str]:
    """The keys of all images, references and masks of a run."""
    for image in inputs.images:
        for file in (image.file, image.reference, image.mask):
            if file is not None:
                yield image_key(file)


def tickets_of(record: RunRecord) -> str | None:
    """The run whose lottery tickets a run takes."""
    lottery = record.config.get("lottery")
    source = lottery.get("tickets") if isinstance(lottery, dict) else None
    return source if isinstance(source, str) else None


def bank_roots(record: RunRecord, inputs: Inputs) -> frozenset[str]:
    """The prefixes of the banks that a run's images are scored by.

    Raises:
        ValueError: this version does not know the run's settings.
    """
    # Imported here: it imports torch, which nothing else of a store's upkeep needs.
    from orchestrator.run.layout import BankLayout  # noqa: PLC0415
    from orchestrator.score.bank import bank_of  # noqa: PLC0415
    from orchestrator.settings import Config  # noqa: PLC0415

    config = Config.model_validate(record.config)
    sizes = {(image.height, image.width, image.channels): image for image in inputs.images}
    specs = (bank_of(config, image) for image in sizes.values())
    return frozenset(BankLayout(spec).root for spec in specs if spec is not None)


def _known(store: Store, record: RunRecord, *, banks: bool) -> Known:
    ended = None if record.state is RunState.RUNNING else record.finished or record.created
    run = Known(record.run, record.created, ended, None, None, tickets_of(record))
    try:
        inputs = read_inputs(store, RunLayout(record.run))
    except StoreUnavailableError:
        raise
    except OrchestratorError as error:
        return replace(run, why=str(error))
    if inputs is None:
        return replace(run, why=f"the run {record.run} has not brought its images yet: resume it, or delete it")
    run = replace(run, inputs=frozenset(input_keys(inputs)))
    if not banks:
        return run
    try:
        return replace(run, banks=bank_roots(record, inputs))
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        return replace(run, why=f"this version does not know the settings of the run {record.run}: {reason}")
