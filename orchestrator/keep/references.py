"""What the objects of a run name, and what is wrong if it is not there: decisions alone, on a list of keys.

`orchestrator.keep.verify` reads the objects, one after the other, and asks here about each.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from orchestrator.fit.record import FitRecord
from orchestrator.keep.damage import Damage, Remedy, Wrong
from orchestrator.keep.names import tickets_of
from orchestrator.keep.remedies import Remedies
from orchestrator.run.attempt import RunState
from orchestrator.run.inputs import InputImage, Inputs
from orchestrator.run.layout import REPORT, FitLayout, Restored, RunLayout
from orchestrator.run.places import Kind, Place, place_of
from orchestrator.run.record import RunRecord
from orchestrator.run.rows import Row, RowState
from workers.names import Round, parse_name

_OF_NO_IMAGE = "it belongs to no image of the run, and no row names it"
_STUDY = ("table.parquet", "table.csv", "study.json", "index.html")


@dataclass(frozen=True)
class References:
    """What is known of a run before its objects are read.

    Attributes:
        layout: The run.
        keys: The keys of all its objects.
        record: Its record; None if that cannot be read.
        inputs: Its list of inputs; None if that is not there, or cannot be read.
    """

    layout: RunLayout
    keys: Set[str]
    record: RunRecord | None
    inputs: Inputs | None

    @cached_property
    def remedies(self) -> Remedies:
        """What can be done about an object of the run."""
        return Remedies(self.layout, self.keys, self.inputs)

    @cached_property
    def images(self) -> dict[str, InputImage]:
        """The images by their ids."""
        return {} if self.inputs is None else {image.id: image for image in self.inputs.images}

    @cached_property
    def arms(self) -> Sequence[str]:
        """The names of the run's arms; empty if they are not known."""
        arms = [] if self.record is None else self.record.config.get("arms", [])
        return [str(arm["name"]) for arm in arms if isinstance(arm, dict) and "name" in arm]

    @property
    def _state(self) -> RunState | None:
        return None if self.record is None else self.record.state

    @cached_property
    def _keeps(self) -> str:
        keep = {} if self.record is None else self.record.config.get("keep", {})
        return str(keep.get("fits", "full")) if isinstance(keep, dict) else "full"

    @cached_property
    def _restored(self) -> Set[str]:
        return {name for image in self.images.values() for name in (image.restored, image.spread)}

    @cached_property
    def _lost_records(self) -> Set[str]:
        """The records of finished fits at full size that are not there, although the fits' outputs are."""
        roots: dict[Kind, set[str]] = {Kind.ARRAYS: set(), Kind.FIT: set()}
        for key in self.keys:
            place = place_of(self.layout, key)
            if place.kind in roots and place.view == "full" and place.image is not None and self._is_done(place.image):
                roots[place.kind].add(key.rpartition("/")[0])
        return {FitLayout(root).result for root in roots[Kind.ARRAYS] - roots[Kind.FIT]}

    def without_reading(self) -> Iterator[Damage]:
        """What the keys alone show."""
        yield from self._definition()
        if self._state is RunState.FINISHED:
            yield from self._end()
        if self._state is RunState.RUNNING or self.inputs is None:
            return
        yield from self._left_over()
        if self._keeps == "full":
            for key in sorted(self._lost_records):
                reason = "the outputs and curves of a fit are there, and its record is not"
                yield self.remedies.again(key, Wrong.MISSING, reason)

    @property
    def needed_run(self) -> str | None:
        """The run whose lottery tickets this one still needs."""
        return None if self.record is None or self._state is RunState.FINISHED else tickets_of(self.record)

    def _definition(self) -> Iterator[Damage]:
        layout = self.layout
        if self.record is None:
            return
        if layout.config not in self.keys and layout.inputs in self.keys:
            yield self._missing(layout.config, "the settings are not there", "resume writes it again")
        # Of a run that is not finished, the last images may still be on their way.
        if self._state is RunState.FINISHED and layout.inputs not in self.keys:
            reason = "the run is finished, and its list of inputs is not there"
            advice = "resume asks for the folder of its images (--images DIR) and makes it again"
            yield replace(self._missing(layout.inputs, reason, advice), remedy=Remedy.BY_HAND)

    def _end(self) -> Iterator[Damage]:
        """What a finished run has."""
        layout = self.layout
        wanted = [layout.results("csv"), layout.results("parquet"), layout.report_file(REPORT)]
        if self.record is not None and self.record.command == "study":
            wanted += [layout.study(file) for file in _STUDY]
        for key in wanted:
            if key not in self.keys:
                yield self._missing(key, "the run is finished, and it is not there", "resume writes it again")
        if self.inputs is None:
            return
        for image in self.inputs.images:
            if layout.row(image.id) not in self.keys:
                reason = "the run is finished, and an image has no rows"
                yield self._missing(layout.row(image.id), reason, "resume does the image")
        for number in range(len(self.inputs.rejected)):
            if (key := layout.row(f"rejected-{number:06}")) not in self.keys:
                reason = "the run is finished, and a rejected file has no rows"
                yield self._missing(key, reason, "resume writes it again")

    def _left_over(self) -> Iterator[Damage]:
        """What nothing needs any more, and nobody will delete by itself."""
        placed = ((key, place_of(self.layout, key)) for key in sorted(self.keys))
        for (_, folder), group in groupby(placed, key=self._grouped):
            listed = list(group)
            key, place = listed[0]
            found = self._fit_left_over(folder, [p for _, p in listed]) if place.fit else self._one_left_over(place)
            if found is None:
                continue
            removes = [each for each, _ in listed]
            resume = "resume deletes it" if place.kind is Kind.CLEANUP and place.image in self.images else ""
            remedy = Remedy.RESUME if resume else Remedy.DISCARD
            advice = resume or "nothing needs it: --repair removes it"
            shown = folder if place.fit else key
            yield Damage(shown, Wrong.LEFT_OVER, found, advice, remedy, () if resume else removes, self.layout.run)

    def _grouped(self, each: tuple[str, Place]) -> tuple[bool, str]:
        """The objects of a fit are one thing, all others one each."""
        key, place = each
        return (True, key.rpartition("/")[0]) if place.fit else (False, key)

    def _one_left_over(self, place: Place) -> str | None:
        """Why nothing needs an object; None if something may."""
        if place.kind is Kind.RESTORED:
            return None if place.name in self._restored else _OF_NO_IMAGE
        # Rows of earlier tries are for people, also those of a file that was rejected then and is an image now.
        if (
            place.image is None
            or place.kind is Kind.RETRIED
            or (place.kind is Kind.ROWS and self._is_rejected(place.image))
        ):
            return None
        if place.image not in self.images:
            return _OF_NO_IMAGE
        if place.kind in (Kind.PICK, Kind.RUNG) and self.arms and place.arm not in self.arms:
            return "it belongs to no arm of the run, and no row names it"
        is_mark = place.kind is Kind.CLEANUP and self._is_done(place.image)
        return "the image is finished, and its fits were not all deleted" if is_mark else None

    def _fit_left_over(self, folder: str, places: Sequence[Place]) -> str | None:
        """Why nothing needs a fit; None if something may."""
        image, view = places[0].image, places[0].view
        if image is None or image not in self.images:
            return "the fit belongs to no image of the run"
        if not self._is_done(image) or self._keeps == "all" or self.layout.cleanup(image) in self.keys:
            return None
        if view != "full" or self._keeps == "none":
            return "the image is finished, and the settings do not keep this fit"
        if not any(place.kind in (Kind.FIT, Kind.ARRAYS) for place in places):
            return "the image is finished, and the fit has no record"
        return None

    def _is_done(self, image: str) -> bool:
        return self.layout.row(image) in self.keys

    def _is_rejected(self, stem: str) -> bool:
        number = stem.removeprefix("rejected-")
        return self.inputs is not None and number.isdigit() and int(number) < len(self.inputs.rejected)

    def of_rows(self, key: str, stem: str, rows: Sequence[Row]) -> Iterator[Damage]:
        """What the rows of an image, or of a rejected file, name that is not there."""
        if self.inputs is None or self.record is None:
            return
        if self._is_rejected(stem) and stem not in self.images:
            expected = self.inputs.rejected[int(stem.removeprefix("rejected-"))].name
        elif stem in self.images:
            expected = self.images[stem].name
        else:
            return
        wrong = _wrong_rows(rows, expected, self.arms)
        if wrong is not None:
            yield self.remedies.again(key, Wrong.DAMAGED, wrong)
        elif stem in self.images:
            image = self.images[stem]
            yield from self._once(found for row in rows for found in self._of_row(image, row))

    def _of_row(self, image: InputImage, row: Row) -> Iterator[Damage]:
        if row.state is not RowState.RESTORED:
            return
        layout = self.layout
        name = parse_name(row.candidate or "")
        if isinstance(name, Round) and name.chain.traits.prunes and name.chain.source is None:
            yield from self._named(layout.ticket(image.id, name), image, "a row names this ticket")
        if not row.picked:
            return
        wanted = {
            layout.restored(row.arm, "pick", image.restored): "a row names this restored file",
            layout.pick(image.id, row.arm): "a row rests on this decision",
            layout.cohort(image.id): "the image is finished, and this is the record of its fits",
        }
        if row.candidate is not None and self._keeps != "none":
            wanted[layout.fit(image.id, "full", name).result] = "a row names this fit"
        mean, spread = (
            layout.restored(row.arm, "mean", image.restored),
            layout.restored(row.arm, "spread", image.spread),
        )
        if row.psnr_mean is not None or mean in self.keys or spread in self.keys:
            wanted |= dict.fromkeys((mean, spread), "the image was restored as a mean of several fits")
        if row.delivered is not None:
            delivered: list[Restored] = ["best"] if row.delivered == "classical" else ["best", row.delivered]
            for way in delivered:
                wanted[layout.restored(row.arm, way, image.restored)] = "the row says that this image was delivered"
        if row.classical is not None:
            wanted[layout.restored("classical", "best", image.restored)] = "the row names this filter"
        if row.stack_weights is not None:
            wanted[layout.restored(row.arm, "stack", image.restored)] = "the row has the weights of this stack"
        for key, why in wanted.items():
            yield from self._named(key, image, why)

    def of_fit(self, key: str, place: Place, record: FitRecord) -> Iterator[Damage]:
        """What the record of a fit names that is not there."""
        fit = FitLayout(key.rpartition("/")[0])
        view = (place.view or "").partition("-")[0]
        if (str(record.candidate), str(record.view)) != (place.fit, view):
            yield self.remedies.again(key, Wrong.DAMAGED, "it is the record of another fit")
        elif record.state == "done" and record.arrays is not None and fit.arrays(record.arrays) not in self.keys:
            reason = "the record of a fit names these outputs and curves, and they are not there"
            yield self.remedies.again(fit.arrays(record.arrays), Wrong.MISSING, reason)

    def _named(self, key: str, image: InputImage, why: str) -> Iterator[Damage]:
        if key not in self.keys and key not in self._lost_records:
            yield self.remedies.of_image(key, image.id, Wrong.MISSING, f"{why}, and it is not there")

    def _missing(self, key: str, reason: str, resume: str) -> Damage:
        return Damage(key, Wrong.MISSING, reason, resume, Remedy.RESUME, (), self.layout.run)

    def _once(self, found: Iterable[Damage]) -> Iterator[Damage]:
        """Each key once, although several arms and rounds may name it."""
        return iter({damage.key: damage for damage in found}.values())


def _wrong_rows(rows: Sequence[Row], image: str, arms: Sequence[str]) -> str | None:
    """What is wrong with an image's rows as a whole: there is one for each arm."""
    if any(row.image != image for row in rows):
        return "they are the rows of another image"
    picked = [row.arm for row in rows if row.picked]
    if arms and sorted(picked) != sorted(arms):
        return "they are not one row for each arm of the run"
    return None
