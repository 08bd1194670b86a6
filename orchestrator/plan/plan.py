"""The plan of a run: the dry run prints it, the real run carries it out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from orchestrator.arms.arm import Arm
from orchestrator.arms.candidates import metrics_of
from orchestrator.arms.lottery import rounds_in
from orchestrator.arms.resolve import arms_of
from orchestrator.errors import UserMistakeError
from orchestrator.ingest.folder import Looking, Upload
from orchestrator.resources.share import Resources
from orchestrator.resources.tiling import tilings
from orchestrator.run.inputs import InputImage, Inputs, Rejected, Source
from orchestrator.run.record import RunRecord
from orchestrator.settings import Config
from orchestrator.settings.effort import Sizing
from orchestrator.settings.trust import KEPT, code_settings
from orchestrator.text import printable, shortened
from workers.tiles import Tiling


@dataclass(frozen=True)
class Plan:
    """A run that has not begun, or that is resumed.

    ``inputs`` are what is known of its images: all of them, or those of the first files. ``continued`` is the record of
    an earlier attempt. ``uploads`` are the files on this machine that the store may still lack, and ``rest`` those that
    have not been looked at yet. ``resources`` is None if the machines are not known yet because the run is driven
    elsewhere. ``sizing`` says who chose the sizes; it is None for a resumed run. ``beside`` are folders among the
    images whose files are taken for what belongs to these.
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
    sizing: Sizing | None = None
    rest: Looking | None = None
    beside: Sequence[str] = ()

    @property
    def coming(self) -> int:
        """How many files have not been brought to the store."""
        return len(self.uploads) + (0 if self.rest is None else self.rest.left)

    @property
    def count(self) -> int:
        """How many images will be worked on, as far as that is known."""
        return len(self.images) + (0 if self.rest is None else self.rest.left)

    @property
    def images(self) -> Sequence[InputImage]:
        """The images that will be worked on, as far as their files have been looked at."""
        return self.inputs.images

    @property
    def rejected(self) -> Sequence[Rejected]:
        """The files that cannot be worked on."""
        return self.inputs.rejected

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The methods that restore every image."""
        return arms_of(self.config)

    @property
    def candidates(self) -> int:
        """How many candidates are scored; 0 if every arm names its networks."""
        candidates = self.config.score.candidates
        count = candidates if isinstance(candidates, int) else len(candidates)
        return count if metrics_of(self.config) else 0

    @property
    def cohort_size(self) -> int:
        """How many networks are fitted for each image to choose from, over all arms; a shared fit counts for every
        arm."""
        return sum(arm.size for arm in self.arms)

    @property
    def full_fits(self) -> int:
        """How many of those networks are fitted again at full size, over all arms."""
        return sum(arm.refits for arm in self.arms)

    @property
    def driver_settings(self) -> list[str]:
        """The settings that another driver is to be given, of the form ``a.b=value``: those of a resumed run that
        differ from its record, and those that name code, which a driver does not take from a record."""
        return [*self._changed_settings(), *code_settings(self.config)]

    def _changed_settings(self) -> list[str]:
        if self.continued is None:
            return []
        before = flat(config_of(self.continued).model_dump(mode="json"))
        now = flat(self.config.model_dump(mode="json"))
        return [f"{key}={json.dumps(value)}" for key, value in now.items() if before.get(key) != value]

    @cached_property
    def tilings(self) -> Mapping[str, Tiling]:
        """The tiles of the images that are cut, by their ids; empty where the machines are not known."""
        return {} if self.resources is None else tilings(self.config, self.images, self.resources)

    @property
    def tiles(self) -> int:
        """How many tiles the images that are cut have in all."""
        return sum(len(tiling.tiles) for tiling in self.tilings.values())

    @property
    def trials(self) -> int:
        """The largest number of fits of the run (arms may share fits); every round of a lottery's chains counts, and
        every tile."""
        chains = sum(arm.size for arm in self.arms if arm.is_lottery)
        rounds = len(rounds_in(self.config, self.arms))
        at_full_size = sum(arm.refits or arm.size for arm in self.arms)
        more = (self.tiles - len(self.tilings)) * at_full_size
        return self.count * (self.cohort_size - chains + rounds + self.full_fits) + more


def config_of(record: RunRecord) -> Config:
    """Read the settings of a run's record; a setting that did not exist then has its default.

    Code that they name is not imported, and a file that they name is refused: the record is the store's, not the
    user's. `orchestrator.settings.change` makes settings of them that may be worked with.

    Raises:
        UserMistakeError: this version does not know one of the settings.
    """
    try:
        return Config.model_validate(record.config, context=KEPT)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = shortened(printable(str(first["msg"])), 300)
        raise UserMistakeError(
            f"the run {record.run} was begun with settings that this version does not know"
            f" ({shortened(printable(where))}: {message}); it was begun with version"
            f" {shortened(printable(str(record.machine.get('dip-orchestrator'))))}"
        ) from None


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted names, such as ``fit.iterations``."""
    named: dict[str, Any] = {}
    for key, value in settings.items():
        named |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return named
