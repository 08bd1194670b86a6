"""Checks of a plan: whether a run can be done as asked, and whether a resumed run is still the same."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.arms.chains import check_lottery
from orchestrator.arms.lottery import is_moved
from orchestrator.arms.resolve import arms_of
from orchestrator.errors import UserMistakeError
from orchestrator.plan.plan import config_of, flat
from orchestrator.resources.share import Resources
from orchestrator.run.attempt import RunState
from orchestrator.run.inputs import InputImage, Inputs, Source
from orchestrator.run.record import RunRecord
from orchestrator.settings import Config
from orchestrator.text import printable, shortened

_MAY_CHANGE = frozenset(
    {
        *("resources.parallel", "resources.gpus", "resources.retries", "resources.store_patience_s"),
        *("resources.hours", "resources.price_per_hour", "fit.checkpoint_s", "keep.report_images"),
    }
)
"""Settings that do not change results."""
_CHANGES_SHOWN = 3


def check_unchanged(
    record: RunRecord, config: Config, resources: Resources | None, *, simulate: bool, command: str
) -> None:
    """Check that a run goes on with the settings that it was begun with.

    Raises:
        UserMistakeError: a setting differs; the message shows the difference.
    """
    before, now = flat(config_of(record).model_dump(mode="json")), flat(config.model_dump(mode="json"))
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
        shown = "; ".join(
            f"{shortened(printable(f'{key}: {before.get(key)}'))}, now {shortened(printable(str(now.get(key))))}"
            for key in changed[:_CHANGES_SHOWN]
        )
        more = f"; and {len(changed) - _CHANGES_SHOWN} more" if len(changed) > _CHANGES_SHOWN else ""
        raise UserMistakeError(
            f"the store has a run {record.run} with other settings ({shown}{more});"
            f" choose another name, or go on with it as it was begun: resume {record.run}"
        )


def check_hours(record: RunRecord, config: Config) -> None:
    """Check that a run to be resumed may still use a machine.

    Raises:
        UserMistakeError: it has used the hours that these settings allow it.
    """
    hours, used = config.resources.hours, record.usage.get("machine_hours", 0.0)
    if hours is not None and used >= hours and record.state is not RunState.FINISHED:
        raise UserMistakeError(
            f"the run {record.run} has used {used:.3g} machine hours, and resources.hours allows it {hours:g}; go on"
            f" with a larger value: resume {record.run} --set resources.hours=N"
        )


def check_mask_colour(record: RunRecord, source: Source) -> None:
    """Check that a run goes on reading its masks the same way.

    Raises:
        UserMistakeError: the run was begun with the other colour for known pixels.
    """
    if source.masks is not None and record.source.get("white_is_known", True) != source.white_is_known:
        raise UserMistakeError(
            f"--mask-known: the run {record.run} was begun with the other colour; choose another name"
        )


def folders_to_read(record: RunRecord, given: Source | None, *, trust: bool) -> Source:
    """The folders that the images of a run are read from, if the store lacks some of them.

    A record is no word of this user: whoever may write to the store could have it name any folder that this process can
    read, and its files would be uploaded.

    Raises:
        UserMistakeError: the user has not given them all, and does not trust the record.
    """
    named = {kind: record.source.get(kind) for kind in ("images", "references", "masks")}
    wanted = [kind for kind, folder in named.items() if folder is not None or kind == "images"]
    if given is None and trust and named["images"]:
        return Source(**record.source)
    lacking = [kind for kind in wanted if given is None or getattr(given, kind) is None]
    if given is None or lacking:
        options = " ".join(f"--{kind} DIR" for kind in lacking)
        folders = ", ".join(shortened(printable(str(named[kind]))) for kind in lacking)
        raise UserMistakeError(
            f"the images of the run {record.run} are not all in the store: give their folders again, {options}"
            f" (or --trust, to read them from where the run's record says they are: {folders})"
        )
    # A colour is no place, and the run's own counts.
    return replace(given, white_is_known=record.source.get("white_is_known", True))


def check_same_inputs(run: str, recorded: Inputs, given: Inputs) -> None:
    """Check that a run goes on with the images that it was begun with.

    Raises:
        UserMistakeError: other images are given; the message shows the difference.
    """
    before, now = ({image.name: image for image in inputs.images} for inputs in (recorded, given))
    rejected = {reject.name for inputs in (recorded, given) for reject in inputs.rejected}
    differences = [f"{name} is new" for name in now if name not in before and name not in rejected]
    differences += [f"{name} is missing" for name in before if name not in now and name not in rejected]
    differences += [f"{name} has changed" for name in now if name in before and _differ(before[name], now[name])]
    if differences:
        more = f" and {len(differences) - _CHANGES_SHOWN} more" if len(differences) > _CHANGES_SHOWN else ""
        raise UserMistakeError(
            f"--images: the run {run} was begun with other images"
            f" ({printable('; '.join(differences[:_CHANGES_SHOWN]))}{more});"
            f" choose another name, or go on with those: resume {run}"
        )


def _differ(before: InputImage, now: InputImage) -> bool:
    """Whether two images differ in more than the rules by which a run reads them, and what follows from those."""
    return before != replace(now, rules=before.rules, channels=before.channels)


def check_together(config: Config, images: Sequence[InputImage], resources: Resources | None) -> None:
    """Check that a search on all images together is possible: it needs one network and memory for all images.

    Raises:
        UserMistakeError: the images differ in channels, or do not fit into the memory of a trial.
    """
    lotteries = [arm for arm in arms_of(config) if arm.is_lottery]
    if not (config.lottery.together and lotteries):
        return
    if len({image.channels for image in images}) > 1:
        raise UserMistakeError("lottery.together: grey and colour images have no network in common; submit them apart")
    # Every pixel has a target, a noise input and two weights, in float32.
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


def check_lotteries(config: Config, *, references: bool) -> None:
    """Check that the patterns of lotteries name convolutions, and that clean images exist if masks are found on them.

    Raises:
        UserMistakeError: one of these is missing.
    """
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


def check_measured(config: Config, *, simulate: bool) -> None:
    """Check that there are measurements: files hold pixels, so those of a whole image are simulated.

    Raises:
        UserMistakeError: they are not.
    """
    if config.task.kind.sees_whole and not simulate:
        raise UserMistakeError(
            f"--simulate: the task {config.task.name} measures clean images itself; give --simulate with them"
        )


def check_masks(config: Config, *, given: bool, simulate: bool) -> None:
    """Check the masks: inpainting needs them, or a simulation that makes holes; no other task takes any.

    Raises:
        UserMistakeError: masks are missing, or the task has no holes but masks are given.
    """
    holes = config.task.kind.needs_masks
    if given and not holes:
        raise UserMistakeError(f"--masks: the task is {config.task.name}, which has no holes; use --task inpaint")
    if holes and not given and not simulate:
        raise UserMistakeError(
            "--masks: inpainting needs to know which pixels are missing; give --masks DIR (or --simulate, which takes"
            " pixels away from clean images)"
        )
