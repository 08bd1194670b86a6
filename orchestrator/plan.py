"""What a run will do, decided before it does anything: the dry run prints the plan that the real run consumes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.arms import Arm, arms_of
from orchestrator.config import Config
from orchestrator.errors import UserMistakeError
from orchestrator.ingest import InputImage, Rejected, Upload, read_folder
from orchestrator.layout import RunLayout
from orchestrator.resources import Resources, bytes_per_pixel, resolve_resources, this_machine, why_too_large
from orchestrator.run import RunRecord, RunState, check_run_name, new_run_name, read_run
from orchestrator.scoring import metrics_of
from orchestrator.store import Store
from orchestrator.text import printable


@dataclass(frozen=True)
class Plan:
    """A run that has not begun, or goes on: ``continued`` is the record of what an earlier attempt began."""

    run: str
    config: Config
    resources: Resources
    simulate: bool
    uploads: Sequence[Upload]
    rejected: Sequence[Rejected]
    white_is_known: bool = True
    continued: RunRecord | None = None

    @property
    def images(self) -> list[InputImage]:
        """The images that will be worked on."""
        return [upload.image for upload in self.uploads]

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The methods that restore every image."""
        return arms_of(self.config)

    @property
    def candidates(self) -> int:
        """How many candidates are scored; none where every arm names its networks."""
        wanted = self.config.score.candidates
        count = wanted if isinstance(wanted, int) else len(wanted)
        return count if metrics_of(self.config) else 0

    @property
    def cohort_size(self) -> int:
        """How many networks are fitted for each image to choose from, over all arms; what arms share counts for each."""
        return sum(arm.size for arm in self.arms)

    @property
    def full_fits(self) -> int:
        """How many of those are fitted afresh at full size, over all arms."""
        return sum(arm.refits for arm in self.arms)

    @property
    def trials(self) -> int:
        """All fits of the run, at most: arms share fits."""
        return len(self.uploads) * (self.cohort_size + self.full_fits)


def make_plan(
    store: Store,
    config: Config,
    images: str | Path,
    *,
    references: str | Path | None = None,
    masks: str | Path | None = None,
    white_is_known: bool = True,
    simulate: bool = False,
    run: str | None = None,
) -> Plan:
    """Look at everything a run needs and write nothing.

    Raises:
        UserMistakeError: something cannot be done as asked.
    """
    name = new_run_name() if run is None else check_run_name(run)
    _check_masks(config, given=masks is not None, simulate=simulate)
    resources = resolve_resources(config, this_machine())
    continued = _run_to_continue(store, name, config, resources.device, simulate=simulate)
    uploads, rejected = read_folder(
        images,
        references=references,
        masks=masks,
        simulate=simulate,
        scale=config.task.scale,
        max_pixels=config.ingest.max_pixels,
    )
    fitting, too_large = [], []
    per_pixel = {n: bytes_per_pixel(config, n) for n in {upload.image.channels for upload in uploads}}
    for upload in uploads:
        reason = why_too_large(upload.image, config.task.scale, per_pixel[upload.image.channels], resources)
        if reason is None:
            fitting.append(upload)
        else:
            too_large.append(Rejected(upload.image.name, reason))
    if not fitting:
        raise UserMistakeError(f"--images {images}: {printable(too_large[0].name)} is {too_large[0].reason}")
    return Plan(name, config, resources, simulate, fitting, [*rejected, *too_large], white_is_known, continued)


def _run_to_continue(store: Store, name: str, config: Config, device: str, *, simulate: bool) -> RunRecord | None:
    """The record of a run of this name that is to go on; what is finished of it is not done again.

    Raises:
        UserMistakeError: it is under way, or was begun with other settings.
    """
    if not store.exists(RunLayout(name).record):
        return None
    record = read_run(store, name)
    if record.state is RunState.RUNNING:
        raise UserMistakeError(
            f"--run {name}: the run is under way, by process {record.driver['pid']} on {record.driver['host']}"
        )
    before, now = _flat(_with_defaults(record.config)), _flat(config.model_dump(mode="json"))
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key) and key not in _MAY_CHANGE]
    before |= {"--simulate": record.simulate, "device": record.machine.get("device", device)}
    now |= {"--simulate": simulate, "device": device}
    changed += [key for key in ("--simulate", "device") if before[key] != now[key]]
    if changed:
        shown = "; ".join(f"{key}: {before.get(key)}, now {now.get(key)}" for key in changed[:_CHANGES_SHOWN])
        raise UserMistakeError(
            f"--run {name}: the store {store.url} has a run of this name with other settings ({shown}); choose another name,"
            " or its settings to go on with it"
        )
    return record


_MAY_CHANGE = frozenset({"resources.parallel", "resources.retries", "fit.checkpoint_s"})
_CHANGES_SHOWN = 3


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Recorded settings, with the defaults of those that were not there yet when they were recorded."""
    try:
        return Config.model_validate(settings).model_dump(mode="json")
    except ValidationError:
        return settings


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _check_masks(config: Config, *, given: bool, simulate: bool) -> None:
    inpaint = config.task.name == "inpaint"
    if given and not inpaint:
        raise UserMistakeError(f"--masks: the task is {config.task.name}, which has no holes; use --config inpaint")
    if inpaint and not given and not simulate:
        raise UserMistakeError(
            "--images: inpainting needs to know which pixels are missing; give --masks DIR (or --simulate, which takes"
            " pixels away from clean images)"
        )
