"""What a run will do, decided before it does anything: the dry run prints the plan that the real run consumes."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.arms.arm import Arm
from orchestrator.arms.lottery import is_moved, rounds_in
from orchestrator.arms.resolve import arms_of
from orchestrator.errors import UserMistakeError
from orchestrator.ingest.folder import Upload, read_folder
from orchestrator.prune.tickets import check_lottery, check_tickets
from orchestrator.resources.share import Resources, resolve_resources, this_machine, too_large
from orchestrator.run.inputs import InputImage, Inputs, Rejected, Source, read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord, check_run_name, new_run_name, read_run
from orchestrator.score.score import metrics_of
from orchestrator.settings import Config, change
from orchestrator.store import Store
from orchestrator.text import printable


@dataclass(frozen=True)
class Plan:
    """A run that has not begun, or goes on: ``continued`` is the record of what an earlier attempt began.

    ``uploads`` are the files on this machine that are to be brought to the store first; none where it has them all.
    ``resources`` are None where the machines are not known yet, as it is carried out elsewhere.
    """

    run: str
    config: Config
    resources: Resources | None
    simulate: bool
    inputs: Inputs
    source: Source
    uploads: Sequence[Upload] = ()
    command: str = "submit"
    continued: RunRecord | None = None

    @property
    def images(self) -> Sequence[InputImage]:
        """The images that will be worked on."""
        return self.inputs.images

    @property
    def rejected(self) -> Sequence[Rejected]:
        """The files that cannot be."""
        return self.inputs.rejected

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
    def told_again(self) -> list[str]:
        """The settings of a run that goes on which are not those of its record, of the form ``a.b=value``."""
        if self.continued is None:
            return []
        before = _flat(_config_of(self.continued).model_dump(mode="json"))
        now = _flat(self.config.model_dump(mode="json"))
        return [f"{key}={json.dumps(value)}" for key, value in now.items() if before.get(key) != value]

    @property
    def trials(self) -> int:
        """All fits of the run, at most: arms share fits. Of a lottery's chains every round counts."""
        chains = sum(arm.size for arm in self.arms if arm.is_lottery)
        rounds = len(rounds_in(self.config, self.arms))
        return len(self.images) * (self.cohort_size - chains + rounds + self.full_fits)


Resolve = Callable[[Config], Resources]


def resolve_here(config: Config) -> Resources:
    """What the settings ask for, on this machine alone."""
    return resolve_resources(config, [this_machine()])


def make_plan(
    store: Store,
    config: Config,
    source: Source,
    *,
    simulate: bool = False,
    run: str | None = None,
    command: str = "submit",
    resolve: Resolve | None = resolve_here,
) -> Plan:
    """Look at everything a run needs and write nothing.

    ``resolve`` knows the machines; None where they are not known yet.

    Raises:
        UserMistakeError: something cannot be done as asked.
    """
    name = new_run_name() if run is None else check_run_name(run)
    _check_masks(config, given=source.masks is not None, simulate=simulate)
    _check_lottery(config, references=simulate or source.references is not None)
    resources = None if resolve is None else resolve(config)
    continued = read_run(store, name) if store.exists(RunLayout(name).record) else None
    if continued is not None:
        _check_unchanged(continued, config, resources, simulate=simulate, command=command)
        _check_mask_colour(continued, source)
    uploads, rejected = read_folder(
        source.images,
        references=source.references,
        masks=source.masks,
        white_is_known=source.white_is_known,
        simulate=simulate,
        scale=config.task.scale,
        max_pixels=config.ingest.max_pixels,
        leave_out=None if "://" in store.url else Path(store.url),
    )
    reasons = {} if resources is None else too_large(config, [upload.image for upload in uploads], resources)
    fitting = [upload for upload in uploads if upload.image.id not in reasons]
    refused = [
        Rejected(upload.image.name, reasons[upload.image.id]) for upload in uploads if upload.image.id in reasons
    ]
    inputs = Inputs([upload.image for upload in fitting], [*rejected, *refused])
    _check_together(config, inputs.images, resources)
    check_tickets(config, store, inputs.images)
    there = None if continued is None else read_inputs(store, RunLayout(name))
    if there is not None:
        _check_same_inputs(name, there, inputs)
        inputs, fitting = there, []
    elif not fitting:
        raise UserMistakeError(f"--images {source.images}: {printable(refused[0].name)} is {refused[0].reason}")
    return Plan(name, config, resources, simulate, inputs, source, fitting, command, continued)


def resume_plan(
    store: Store, run: str, assignments: Sequence[str] = (), *, resolve: Resolve | None = resolve_here
) -> Plan:
    """What is left of a run, from its record alone.

    ``assignments`` are settings of the form ``a.b=value``, of those that change no result; for ``resolve`` see `make_plan`.

    Raises:
        UserMistakeError: there is no such run, it cannot go on here, or a setting would change its results.
    """
    record = read_run(store, run)
    config = change(_config_of(record), assignments)
    there = read_inputs(store, RunLayout(run))
    source = Source(**record.source)
    if there is None:
        # It ended before its inputs were all in the store, so they are brought from where they were.
        return make_plan(
            store, config, source, simulate=record.simulate, run=run, command=record.command, resolve=resolve
        )
    if not all(re.match(r"[0-9a-f]{64}", image.file) for image in there.images):
        raise UserMistakeError(
            f"the run {run} was begun by an earlier version, which kept its images elsewhere; submit them anew"
        )
    resources = None if resolve is None else resolve(config)
    _check_unchanged(record, config, resources, simulate=record.simulate, command=record.command)
    return Plan(run, config, resources, record.simulate, there, source, (), record.command, record)


def _config_of(record: RunRecord) -> Config:
    """The settings of a run, with the defaults of those that were not there yet when they were recorded.

    Raises:
        UserMistakeError: this version cannot read them.
    """
    try:
        return Config.model_validate(record.config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UserMistakeError(
            f"the run {record.run} was begun with settings that this version does not know ({where}: {first['msg']});"
            f" it was begun with version {record.machine.get('dip-orchestrator')}"
        ) from None


def _check_unchanged(
    record: RunRecord, config: Config, resources: Resources | None, *, simulate: bool, command: str
) -> None:
    """A run goes on with what it was begun with.

    Raises:
        UserMistakeError: a setting is another; the difference is shown.
    """
    before, now = _flat(_config_of(record).model_dump(mode="json")), _flat(config.model_dump(mode="json"))
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key) and key not in _MAY_CHANGE]
    # A run that no driver has worked on yet has no device.
    device = record.machine.get("device") if resources is None else resources.device
    others = {
        "--simulate": (record.simulate, simulate),
        "device": (record.machine.get("device", device), device),
        "command": (record.command, command),
    }
    before |= {key: was for key, (was, _) in others.items()}
    now |= {key: given for key, (_, given) in others.items()}
    changed += [key for key, (was, given) in others.items() if was != given]
    if changed:
        shown = "; ".join(f"{key}: {before.get(key)}, now {now.get(key)}" for key in changed[:_CHANGES_SHOWN])
        more = f"; and {len(changed) - _CHANGES_SHOWN} more" if len(changed) > _CHANGES_SHOWN else ""
        raise UserMistakeError(
            f"the store has a run {record.run} with other settings ({shown}{more}); choose another name, or go on with it as"
            f" it was begun: resume {record.run}"
        )


def _check_mask_colour(record: RunRecord, source: Source) -> None:
    if source.masks is not None and record.source.get("white_is_known", True) != source.white_is_known:
        raise UserMistakeError(
            f"--mask-known: the run {record.run} was begun with the other colour; choose another name"
        )


def _check_same_inputs(run: str, there: Inputs, given: Inputs) -> None:
    """A run goes on with the images that it was begun with.

    Raises:
        UserMistakeError: others are given; the difference is shown.
    """
    before, now = ({image.name: image for image in inputs.images} for inputs in (there, given))
    rejected = {reject.name for inputs in (there, given) for reject in inputs.rejected}
    differences = [f"{name} is new" for name in now if name not in before and name not in rejected]
    differences += [f"{name} is missing" for name in before if name not in now and name not in rejected]
    differences += [f"{name} has changed" for name in now if name in before and before[name] != now[name]]
    if differences:
        more = f" and {len(differences) - _CHANGES_SHOWN} more" if len(differences) > _CHANGES_SHOWN else ""
        raise UserMistakeError(
            f"--images: the run {run} was begun with other images ({printable('; '.join(differences[:_CHANGES_SHOWN]))}{more});"
            f" choose another name, or go on with those: resume {run}"
        )


_MAY_CHANGE = frozenset(
    {
        *("resources.parallel", "resources.gpus", "resources.retries", "resources.store_patience_s"),
        *("fit.checkpoint_s", "keep.report_images"),
    }
)
"""Settings that change no result."""
_CHANGES_SHOWN = 3


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _check_together(config: Config, images: Sequence[InputImage], resources: Resources | None) -> None:
    """A search on all images at once needs one network for them, and a place for what it knows of each."""
    lotteries = [arm for arm in arms_of(config) if arm.is_lottery]
    if not (config.lottery.together and lotteries):
        return
    if len({image.channels for image in images}) > 1:
        raise UserMistakeError("lottery.together: grey and colour images have no network in common; submit them apart")
    # Target, noise input and two weights of every pixel, in float32.
    scale = config.task.scale
    needed = sum(
        4 * (image.channels + config.network.input_depth(image.channels) + 2) * scale**2 * image.height * image.width
        for image in images
    )
    if resources is not None and needed > resources.trial_memory / 2:
        raise UserMistakeError(
            f"lottery.together: the images take {needed / 1e9:.1f} GB in one trial, which has"
            f" {resources.trial_memory / 1e9:.1f} GB here; submit fewer of them"
        )


def _check_lottery(config: Config, *, references: bool) -> None:
    lotteries = [arm for arm in arms_of(config) if arm.is_lottery]
    if not lotteries:
        return
    lottery = config.lottery
    try:
        check_lottery(config)
    except ValueError as error:
        raise UserMistakeError(f"lottery.exempt: {error}") from None
    searching = any(arm.traits.sees_images and not is_moved(config, arm) for arm in lotteries)
    if lottery.target == "clean" and searching and not references:
        raise UserMistakeError("lottery.target=clean: there are no clean images; give --references, or --simulate")


def _check_masks(config: Config, *, given: bool, simulate: bool) -> None:
    holes = config.task.kind.needs_masks
    if given and not holes:
        raise UserMistakeError(f"--masks: the task is {config.task.name}, which has no holes; use --config inpaint")
    if holes and not given and not simulate:
        raise UserMistakeError(
            "--images: inpainting needs to know which pixels are missing; give --masks DIR (or --simulate, which takes"
            " pixels away from clean images)"
        )
