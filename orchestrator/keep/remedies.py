"""What can be done about an object that is damaged or missing: decisions alone.

What was computed can be computed again. An image is done again when its rows are gone: `resume` then finds what is
still there, and makes the rest. What a person gave, the record of a run and what a newer version wrote cannot.
"""

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property

from orchestrator.keep.damage import Damage, Remedy, Wrong
from orchestrator.run.inputs import Inputs
from orchestrator.run.layout import FitLayout, RunLayout, slug
from orchestrator.run.places import Kind, Place, place_of

_TOLERATED = frozenset({Kind.STATE, Kind.STOP, Kind.LOG, Kind.PREVIEW, Kind.RETRIED, Kind.CLEANUP})
"""Kinds that nothing else needs; `resume` goes on without them."""
_OF_UNFINISHED = frozenset({Kind.CHECKPOINT, Kind.PAUSE, Kind.STEP, Kind.TILING})
"""Kinds that only an unfinished image needs."""
_NEEDLESS = "nothing needs it: --repair removes it"
_BY_HAND = {
    Kind.RECORD: "resume refuses the run: put back a good copy, which an export of the run has",
    Kind.INPUTS: (
        "resume stops there: put back a good copy, or delete it and resume with the folder of the images (--images DIR)"
    ),
    Kind.HOLDER: "resume stops there: once no driver works on the run, delete it",
    Kind.OTHER: "this version does not know it, and resume leaves it alone: put back a good copy, or delete it",
}


@dataclass(frozen=True)
class Remedies:
    """The remedies of a run.

    Attributes:
        layout: The run.
        keys: The keys of all its objects.
        inputs: Its list of inputs; None if that is not known.
    """

    layout: RunLayout
    keys: Set[str]
    inputs: Inputs | None

    @cached_property
    def _ids(self) -> dict[str, str]:
        """The ids of images by their slugs."""
        return {} if self.inputs is None else {slug(image.id): image.id for image in self.inputs.images}

    @cached_property
    def _of_restored(self) -> dict[str, str]:
        """The ids of images by the names of their restored files."""
        images = () if self.inputs is None else self.inputs.images
        return {name: image.id for image in images for name in (image.restored, image.spread)}

    def newer(self, key: str, reason: str) -> Damage:
        """An object that a newer version has written."""
        advice = "resume stops there: install that version"
        return Damage(key, Wrong.NEWER, reason, advice, Remedy.BY_HAND, (), self.layout.run)

    def again(self, key: str, wrong: Wrong, reason: str) -> Damage:
        """An object of the run that is damaged or missing."""
        place = place_of(self.layout, key)
        if place.kind in _BY_HAND:
            return Damage(key, wrong, reason, _BY_HAND[place.kind], Remedy.BY_HAND, (), self.layout.run)
        if place.kind in _TOLERATED:
            advice = f"resume goes on without it; {_NEEDLESS}"
            return Damage(key, wrong, reason, advice, Remedy.DISCARD, self._there(key), self.layout.run)
        image = self._image_of(key, place)
        if image is not None:
            return self.of_image(key, image, wrong, reason)
        advice = "--repair removes it, and resume makes it again"
        return Damage(key, wrong, reason, advice, Remedy.REMOVE, self._there(key), self.layout.run)

    def of_image(self, key: str, image: str, wrong: Wrong, reason: str) -> Damage:
        """An object of an image that is damaged or missing."""
        place, row = place_of(self.layout, key), self.layout.row(image)
        removes = [each for each in self._with(key, place, image) if each != row]
        if row in self.keys and place.kind in _OF_UNFINISHED:
            return Damage(key, wrong, reason, _NEEDLESS, Remedy.DISCARD, removes, self.layout.run)
        if row in self.keys:
            done = "resume takes the image for finished; --repair removes its rows, and resume does it again"
            return Damage(key, wrong, reason, done, Remedy.REMOVE, (*removes, row), self.layout.run)
        if place.kind is Kind.CHECKPOINT:
            advice = "resume begins the fit again"
        elif not removes:
            return Damage(key, wrong, reason, "resume makes it again", Remedy.RESUME, (), self.layout.run)
        else:
            advice = "--repair removes it, and resume makes it again"
        return Damage(key, wrong, reason, advice, Remedy.REMOVE, removes, self.layout.run)

    def _there(self, key: str) -> tuple[str, ...]:
        return (key,) if key in self.keys else ()

    def _with(self, key: str, place: Place, image: str) -> list[str]:
        """What goes with an object, the object last.

        Without its record a fit is done again. A round's ticket is written by the fit of the round before, so without
        the records of all fits it is written again.
        """
        records: list[str] = []
        if place.kind is Kind.ARRAYS:
            records = [FitLayout(key.rpartition("/")[0]).result]
        elif place.kind is Kind.TICKET:
            fits = f"{self.layout.fits(image)}/"
            records = sorted(each for each in self.keys if each.startswith(fits) and each.endswith("/result.json"))
        return [each for each in (*records, key) if each in self.keys]

    def _image_of(self, key: str, place: Place) -> str | None:
        """The image that is to be done again; None if none is."""
        if place.kind is Kind.RESTORED:
            return self._of_restored.get(place.name or "")
        if place.kind in (Kind.TICKET, Kind.START):
            source = key.removeprefix(f"{self.layout.all_tickets}/").split("/")[0]
            # What was found on all images together is found again for any of them.
            return self._ids.get(source, next(iter(self._ids.values()), None))
        return None if place.image is None else self._ids.get(slug(place.image))
