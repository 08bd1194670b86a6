"""What must hold in every history, checked at every write and at the end."""

import json
from collections.abc import Sequence

from orchestrator.arms.arm import Arm
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import fit_keys
from orchestrator.run.claim import STALE_S
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import RunLayout
from tests.simulation.crew import DIED, LOST, SimulatedCrew
from tests.simulation.kernel import Kernel, Process
from tests.simulation.store import Objects

_SLACK_S = 1.0


class Laws:
    """Checks the laws of a run.

    1. An image has one set of rows, a row for each arm, and they never change.
    2. No finished fit is repeated: neither one that has its record, nor one of an image that has its rows.
    3. Nothing is deleted that a row names.
    4. Only the driver that holds the run has a say: nobody takes it over from a driver that gives signs of life, a
       driver records no failure without a look whether it was succeeded, and no run is called finished that is not.
    5. An image fails only for what its own fits and workers met, never for what drivers do to each other.
    6. In the end everything that was wanted is there (`at_the_end`).
    """

    def __init__(self, kernel: Kernel, objects: Objects, layout: RunLayout, images: Sequence[InputImage]) -> None:
        self.kernel, self._objects, self._layout, self._images = kernel, objects, layout, images
        self.numbers: dict[Process, int] = {}
        self.crews: dict[Process, SimulatedCrew] = {}
        self.computed = 0
        self._signs: dict[int, dict[int, float]] = {}
        objects.on_write, objects.on_delete = self._on_write, self._on_delete

    def broken(self, law: int, what: str) -> None:
        """A law is broken."""
        self.kernel.mistakes.append(f"law {law}: {what}")
        self.kernel.tell("LAW", self.kernel.mistakes[-1])

    def _on_write(self, process: Process, key: str, data: bytes, created: bool) -> None:
        self.kernel.tell(process.name, f"{'creates' if created else 'puts'} {key}")
        kind, _, rest = key.removeprefix(f"{self._layout.root}/").partition("/")
        if kind == "claims" and rest.endswith("holder.json"):
            self._on_claim(process, int(rest.split("/")[0]), created)
        elif kind == "claims" and rest.endswith("state.json"):
            standing = json.loads(data)
            state, number = standing["state"], int(rest.split("/")[0])
            # A write that is repeated, since its answer was lost, shows the same count and is no further sign.
            signs = self._signs.setdefault(number, {})
            signs.setdefault(standing["beat"], self.kernel.now)
            if state != "running":
                signs.clear()
            if state == "finished" and number == max(self.numbers.values()) and not self._all_rows():
                self.broken(4, f"{process.name} calls the run finished, and rows are missing")
        elif kind == "rows":
            self._on_rows(process, key, data, created)
        elif key.endswith("result.json") and json.loads(data)["state"] == "failed":
            self._on_failure(process, key)

    def _on_claim(self, process: Process, number: int, created: bool) -> None:
        self.numbers[process] = number
        if not created:
            self.broken(4, f"claim {number} is overwritten")
        # Two looks that lie so far apart have shown the same sign of life. What comes after the last one came too late.
        first, last = process.looked - STALE_S + _SLACK_S, process.looked
        if process.judged[1] > STALE_S / 2 + _SLACK_S:
            last = self.kernel.now  # it went by what it had read long before
        if any(first < sign < last for sign in self._signs.get(number - 1, {}).values()):
            self.broken(4, f"{process.name} takes the run over from a driver that has given a sign of life")

    def _on_rows(self, process: Process, key: str, data: bytes, created: bool) -> None:
        if not created:
            self.broken(1, f"{process.name} overwrites {key}")
        rows = json.loads(data)["rows"]
        failed = [row for row in rows if row["state"] != "restored"]
        for row in failed:
            reason = str(row["reason"])
            if not any(met in reason for met in (DIED, LOST)):
                self.broken(5, f"{key}: {reason}")
        if failed and process in self.numbers:
            self._on_failure(process, key)

    def _on_failure(self, process: Process, key: str) -> None:
        """A driver records a failure: it has looked whether it holds the run since it heard of the failure."""
        held = self._objects.held.get(self._layout.claim(self.numbers.get(process, 10**6 - 2) + 1).holder)
        if held is not None and self.kernel.current().confirmed < process.heard:
            self.broken(4, f"{process.name} records {key} without a look, and has been succeeded")

    def _on_delete(self, process: Process, key: str) -> None:
        self.kernel.tell(process.name, f"deletes {key}")
        kind, _, rest = key.removeprefix(f"{self._layout.root}/").partition("/")
        if kind in ("rows", "restored", "picks", "cohorts"):
            self.broken(3, f"{process.name} deletes {key}")
        elif kind == "fits":
            image, view, name, file = rest.split("/")
            row = self._objects.held.get(self._layout.row(image))
            named = () if row is None else [each["candidate"] for each in json.loads(row.data)["rows"]]
            if view == "full" and name in named and not file.startswith("checkpoint"):
                self.broken(3, f"{process.name} deletes {key}, which a row names")

    def computes(self, context: RunContext, job: FitJob) -> None:
        """An attempt begins to compute a fit."""
        self.computed += 1
        process: Process = context.__dict__["process"]
        driver = next(crew for crew in self.crews.values() if process in crew.processes)
        held = self._objects.held
        keys = fit_keys(context, job)
        result = held.get(keys.result)
        if result is not None and result.written < process.asked[0] and self._has_arrays(keys.root):
            self.broken(2, f"{process.name} computes a fit that is finished")
        row = held.get(self._layout.row(job.image.id))
        if row is not None and row.written < driver.admitted[job.image.id]:
            self.broken(2, f"{process.name} computes a fit of an image that had its rows when it was begun")

    def _has_arrays(self, root: str) -> bool:
        return any(key.startswith(f"{root}/arrays-") for key in self._objects.held)

    def _all_rows(self) -> bool:
        return all(self._layout.row(image.id) in self._objects.held for image in self._images)

    def at_the_end(self, arms: Sequence[Arm]) -> None:
        """Everything that was wanted is in the store."""
        held, layout = self._objects.held, self._layout
        for image in self._images:
            row = held.get(layout.row(image.id))
            if row is None:
                self.broken(6, f"{image.id} has no rows")
                continue
            rows = json.loads(row.data)["rows"]
            if [each["arm"] for each in rows] != [arm.name for arm in arms]:
                self.broken(1, f"{image.id} has the rows of {[each['arm'] for each in rows]}")
            for each in rows:
                if each["state"] == "restored":
                    self._restored(image, each["arm"], each["candidate"])

    def _restored(self, image: InputImage, arm: str, candidate: str) -> None:
        held, layout = self._objects.held, self._layout
        root = f"{layout.fits(image.id)}/full/{candidate}"
        for key in (
            layout.restored(arm, "pick", image.restored),
            layout.pick(image.id, arm),
            layout.cohort(image.id),
            f"{root}/result.json",
        ):
            if key not in held:
                self.broken(6, f"{image.id} is restored by {arm}, and {key} is missing")
        if f"{root}/result.json" in held:
            arrays = json.loads(held[f"{root}/result.json"].data)["arrays"]
            if f"{root}/arrays-{arrays}.npz" not in held:
                self.broken(6, f"the arrays of {root} are missing")
            file = held.get(layout.restored(arm, "pick", image.restored))
            if file is not None and file.data != f"restored with {arrays}".encode():
                self.broken(6, f"{image.id}: {arm} is not restored with the fit that its row names")
