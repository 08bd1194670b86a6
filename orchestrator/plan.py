"""What a run will do, decided before it does anything: the dry run prints the plan that the real run consumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config import Config
from orchestrator.errors import UserMistakeError
from orchestrator.ingest import InputImage, Rejected, Upload, read_folder
from orchestrator.layout import RunLayout
from orchestrator.resources import Resources, bytes_per_pixel, resolve_resources, this_machine, why_too_large
from orchestrator.run import check_run_name, new_run_name
from orchestrator.store import Store
from orchestrator.text import printable


@dataclass(frozen=True)
class Plan:
    """A run that has not begun."""

    run: str
    config: Config
    resources: Resources
    simulate: bool
    uploads: Sequence[Upload]
    rejected: Sequence[Rejected]

    @property
    def images(self) -> list[InputImage]:
        """The images that will be worked on."""
        return [upload.image for upload in self.uploads]

    @property
    def candidates(self) -> int:
        """How many candidates are scored."""
        wanted = self.config.score.candidates
        return wanted if isinstance(wanted, int) else len(wanted)

    @property
    def cohort_size(self) -> int:
        """How many are fitted for each image."""
        return min(self.config.cohort.size, self.candidates)

    @property
    def full_fits(self) -> int:
        """How many of those are fitted afresh at full size; none where the cohort is at full size already."""
        return 0 if self.config.cohort.view == "full" else min(self.config.pick.full_fits, self.cohort_size)

    @property
    def trials(self) -> int:
        """All fits of the run."""
        return len(self.uploads) * (self.cohort_size + self.full_fits)


def make_plan(
    store: Store,
    config: Config,
    images: str | Path,
    *,
    references: str | Path | None = None,
    simulate: bool = False,
    run: str | None = None,
) -> Plan:
    """Look at everything a run needs and write nothing.

    Raises:
        UserMistakeError: something cannot be done as asked.
    """
    name = new_run_name() if run is None else check_run_name(run)
    if store.exists(RunLayout(name).record):
        raise UserMistakeError(f"--run {name}: the store {store.url} has a run of this name; choose another")
    resources = resolve_resources(config, this_machine())
    uploads, rejected = read_folder(
        images, references=references, simulate=simulate, max_pixels=config.ingest.max_pixels
    )
    fitting, too_large = [], []
    per_pixel = {n: bytes_per_pixel(config, n) for n in {upload.image.channels for upload in uploads}}
    for upload in uploads:
        reason = why_too_large(upload.image, per_pixel[upload.image.channels], resources)
        if reason is None:
            fitting.append(upload)
        else:
            too_large.append(Rejected(upload.image.name, reason))
    if not fitting:
        raise UserMistakeError(f"--images {images}: {printable(too_large[0].name)} is {too_large[0].reason}")
    return Plan(name, config, resources, simulate, fitting, [*rejected, *too_large])
