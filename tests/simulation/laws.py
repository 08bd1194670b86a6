"""What must hold in every history, checked at every write and at the end."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from orchestrator.fit.job import FitJob
from orchestrator.fit.record import fit_keys
from orchestrator.run.claim import STALE_S
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import BANKS, IMAGES, RunLayout, image_key
from orchestrator.schedule.crashes import Crash
from orchestrator.settings import Config
from orchestrator.store import MARKER
from tests.simulation.crew import DIED, LOST, SimulatedCrew
from tests.simulation.kernel import Kernel, Process
from tests.simulation.runs import POISONS, REJECTED, content_of
from tests.simulation.store import Objects

_SLACK_S = 1.0
_KEPT = ("rows", "restored", "picks", "cohorts", "rungs", "scores", "tickets", "previews", "claims", "inputs.json")
"""What nobody deletes."""
_ONCE = ("rows", "picks", "cohorts", "rungs", "scores", "tickets", "inputs.json", "run.json", "config.yaml")
"""What is created once. Of fits these are the results."""


class Laws:
    """Checks the laws of a run.

    0. No code of the product breaks.
    1. An image has one set of rows, a row for each arm, and they never change; nor does any other decision.
    2. No finished fit is repeated: neither one that has its record, nor one of an image that has its rows.
    3. Nothing is deleted that a row names, and nothing outside the run.
    4. Only the driver that holds the run has a say: nobody takes it over from a driver that gives signs of life, a
       driver records no failure without a look whether it was succeeded, and no run is called finished that is not.
    5. An image fails only for what its own fits and workers met, never for what drivers do to each other.
    6. In the end everything that was wanted is there (`at_the_end`).
    7. What fails is tried again exactly as often as the settings say.
    8. What is there in the end is what a run without any fault has left (`tests.simulation.calm`).
    9. Tables and page are written after the rows, and show all of them.
    """

    def __init__(
        self, kernel: Kernel, objects: Objects, layout: RunLayout, config: Config, images: Sequence[InputImage]
    ) -> None:
        self.kernel, self._objects, self._layout, self._config, self._images = kernel, objects, layout, config, images
        self.numbers: dict[Process, int] = {}
        self.crews: dict[Process, SimulatedCrew] = {}
        self.computed = 0
        self.gpu = False
        self.spoiled: set[str] = set()
        self._signs: dict[int, dict[int, float]] = {}
        self._crashes: dict[Process, Counter[tuple[object, str]]] = {}
        self._lost: dict[Process, Counter[str]] = {}
        self._showed: dict[str, Process] = {}
        objects.on_write, objects.on_delete = self._on_write, self._on_delete

    def broken(self, law: int, what: str) -> None:
        """A law is broken."""
        self.kernel.mistakes.append(f"law {law}: {what}")
        self.kernel.tell("LAW", self.kernel.mistakes[-1])

    def watch(self, driver: Process, crew: SimulatedCrew) -> None:
        """Watch the work of a driver."""
        self.crews[driver] = crew
        crashes = self._crashes[driver] = Counter()
        lost = self._lost[driver] = Counter()
        retries = self._config.resources.retries

        def on_crash(job: FitJob, crash: Crash) -> None:
            crashes[_fit(job), "alone" if crash.cause == "memory" and job.alone else crash.cause] += 1
            if job.together and crash.cause == "worker":
                self.spoiled.update(image.id for image in self._images)

        def on_start(job: FitJob) -> None:
            if crashes[_fit(job), "worker"] > retries or crashes[_fit(job), "alone"]:
                self.broken(7, f"{driver.name} tries {_fit(job)} too often")
            if crashes[_fit(job), "memory"] and not job.alone:
                self.broken(7, f"{driver.name} tries {_fit(job)} again and not alone")

        def on_lost(work: str) -> None:
            lost[work] += 1
            if lost[work] > retries + 1:
                self.broken(7, f"{driver.name} asks too often: {work}")
            if work.startswith("bank") and lost[work] > retries:
                # Its candidates have no score in this driver's images.
                self.spoiled.update(image.id for image in self._images)

        crew.on_crash, crew.on_start, crew.on_lost = on_crash, on_start, on_lost

    def _on_write(self, process: Process, key: str, data: bytes, created: bool) -> None:
        self.kernel.tell(process.name, f"{'creates' if created else 'puts'} {key}")
        if not key.startswith(f"{self._layout.root}/"):
            if not key.startswith((IMAGES, BANKS, MARKER)):
                self.broken(3, f"{process.name} writes {key}, which is not of the run")
            return
        kind, _, rest = key.removeprefix(f"{self._layout.root}/").partition("/")
        if not created and (kind in _ONCE or key.endswith("result.json")):
            self.broken(1, f"{process.name} overwrites {key}")
        if key in (self._layout.results("csv"), self._layout.report):
            self._showed[key] = process
        if kind == "claims" and rest.endswith("holder.json"):
            self._on_claim(process, int(rest.split("/")[0]), created)
        elif kind == "claims" and rest.endswith("state.json"):
            self._on_state(process, int(rest.split("/")[0]), data)
        elif kind == "rows":
            self._on_rows(process, key, data)
        elif key.endswith("result.json") and json.loads(data)["state"] == "failed":
            self._on_failure(process, key, json.loads(data)["reason"])

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

    def _on_state(self, process: Process, number: int, data: bytes) -> None:
        standing = json.loads(data)
        # A write that is repeated, since its answer was lost, shows the same count and is no further sign.
        signs = self._signs.setdefault(number, {})
        signs.setdefault(standing["beat"], self.kernel.now)
        if standing["state"] != "running":
            signs.clear()
        if standing["state"] == "finished" and number == max(self.numbers.values()):
            if not self._all_rows():
                self.broken(4, f"{process.name} calls the run finished, and rows are missing")
            self._tables(process.name)

    def _tables(self, who: str) -> None:
        """The tables and the page show all rows.

        A driver that was held up while it wrote them may have overwritten those of the one that took over; it writes
        them again, unless it is killed.
        """
        if any(process.name != who and (process.alive or process.killed) for process in self._showed.values()):
            return
        held, names = self._objects.held, {image.name for image in self._images}
        table, page = held.get(self._layout.results("csv")), held.get(self._layout.report)
        if table is None or page is None:
            self.broken(9, f"{who} calls the run finished, and its table or page is missing")
            return
        if missing := names - {row[0] for row in json.loads(table.data)}:
            self.broken(9, f"{who} leaves {sorted(missing)} out of the table")
        if missing := names - set(json.loads(page.data)):
            self.broken(9, f"{who} leaves {sorted(missing)} out of the page")

    def on_end(self, driver: Process) -> None:
        """A driver has ended by itself: if the run is finished, whoever has finished it, its tables are whole."""
        held = self._objects.held.get(self._layout.claim(max(self.numbers.values(), default=0)).state)
        if held is not None and json.loads(held.data)["state"] == "finished" and not self._objects.lag_s:
            self._tables(driver.name)

    def _on_rows(self, process: Process, key: str, data: bytes) -> None:
        image = key.rpartition("/")[2].removesuffix(".json")
        failed = [row for row in json.loads(data)["rows"] if row["state"] != "restored"]
        met = (DIED, LOST, REJECTED.reason, "there is no ticket", *POISONS.values())
        reasons = [str(row["reason"]) for row in failed if row["picked"]]
        for reason in reasons:
            # A lottery whose network another arm was to pick has no reason of its own.
            if not any(known in reason for known in met) and not (
                reason.endswith("unknown") and any(known in other for other in reasons for known in met)
            ):
                self.broken(5, f"{key}: {reason}")
        for row in failed:
            reason = str(row["reason"])
            if (DIED in reason or LOST in reason) and not any(poison in key for poison in POISONS):
                self.spoiled.add(image)
        if failed and process in self.numbers:
            self._confirmed(process, key)

    def _on_failure(self, process: Process, key: str, reason: str) -> None:
        """A failed fit is recorded, by the driver or by the fit itself."""
        image, view, name = key.removeprefix(f"{self._layout.root}/fits/").split("/")[:3]
        if process in self.numbers:
            self._confirmed(process, key)
            crashes = self._crashes[process]
            by = {cause: crashes[(image, view, name), cause] for cause in ("worker", "node", "alone")}
            if by["worker"] <= self._config.resources.retries and by["node"] <= 20 and not by["alone"]:
                self.broken(7, f"{process.name} gives {key} up too early")
        if DIED in reason or LOST in reason:
            self.spoiled.add(image)

    def _confirmed(self, process: Process, key: str) -> None:
        """A driver records a failure: it has looked whether it holds the run since it heard of the failure."""
        held = self._objects.held.get(self._layout.claim(self.numbers[process] + 1).holder)
        if held is not None and self.kernel.current().confirmed < process.heard:
            self.broken(4, f"{process.name} records {key} without a look, and has been succeeded")

    def _on_delete(self, process: Process, key: str) -> None:
        self.kernel.tell(process.name, f"deletes {key}")
        kind, _, rest = key.removeprefix(f"{self._layout.root}/").partition("/")
        if not key.startswith(f"{self._layout.root}/") or kind in _KEPT or not rest:
            self.broken(3, f"{process.name} deletes {key}")
        elif kind == "fits":
            image, view, name, file = rest.split("/")
            row = self._objects.held.get(self._layout.row(image))
            named = (
                [] if row is None else [each["candidate"] for each in json.loads(row.data)["rows"] if each["picked"]]
            )
            kept = self._config.keep.fits
            if file.startswith(("checkpoint", "finding")):
                return
            if kept == "all" or row is None:
                self.broken(3, f"{process.name} deletes {key}, and the image is not finished, or the settings keep it")
            elif view == "full" and kept == "full" and name in named:
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
        return all(self._rows_of(image) is not None for image in self._images)

    def _rows_of(self, image: InputImage) -> list[dict[str, Any]] | None:
        """The rows of an image; those of a file that was rejected before it had an id have a key of their own."""
        held = self._objects.held.get(self._layout.row(image.id))
        if held is not None:
            rows: list[dict[str, Any]] = json.loads(held.data)["rows"]
            return rows
        for key, each in self._objects.held.items():
            if key.startswith(f"{self._layout.rows}/rejected-"):
                rows = json.loads(each.data)["rows"]
                if rows[0]["image"] == image.name:
                    return rows
        return None

    def at_the_end(self, arms: Sequence[str]) -> None:
        """Everything that was wanted is in the store."""
        held = self._objects.held
        for image in self._images:
            rows = self._rows_of(image)
            if rows is None:
                self.broken(6, f"{image.id} has no rows")
                continue
            if [row["arm"] for row in rows if row["picked"]] != list(arms):
                self.broken(1, f"{image.id} has the rows of {[row['arm'] for row in rows]}")
            for row in rows:
                if row["state"] == "restored" and row["picked"]:
                    self._restored(image, row)
            file = held.get(image_key(image.file))
            if file is not None and file.data != content_of(image):
                self.broken(1, f"the input of {image.id} is not its file")
        if not self._objects.lag_s:
            self._tables("the last driver")

    def _restored(self, image: InputImage, row: dict[str, Any]) -> None:
        held, layout = self._objects.held, self._layout
        root = f"{layout.fits(image.id)}/full/{row['candidate']}"
        file = layout.restored(row["arm"], "pick", image.restored)
        wanted = [layout.pick(image.id, row["arm"]), layout.cohort(image.id), file]
        if self._config.keep.fits != "none":
            wanted.append(f"{root}/result.json")
        for key in wanted:
            if key not in held:
                self.broken(6, f"{image.id} is restored by {row['arm']}, and {key} is missing")
        if self._config.keep.fits == "none" or f"{root}/result.json" not in held:
            return
        name = json.loads(held[f"{root}/result.json"].data)["arrays"]
        arrays = held.get(f"{root}/arrays-{name}.npz")
        if arrays is None:
            self.broken(6, f"the arrays of {root} are missing")
        elif file in held:
            made = json.loads(arrays.data)
            if float(held[file].data) not in (made["value"] + made["revealed"] / 8, made["value"] + 1):
                self.broken(6, f"{image.id}: {row['arm']} is not restored with the fit that its row names")


def _fit(job: FitJob) -> tuple[str, str, str]:
    return ("all images" if job.together else job.image.id, job.view, str(job.name))
