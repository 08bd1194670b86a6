"""A run's metrics for Prometheus, in addition to those that Ray publishes about its machines."""

from collections.abc import Mapping, Sequence

from ray.util.metrics import Gauge

from orchestrator.run.progress import Stage
from orchestrator.schedule.queue import QueueStanding

_FITS = {"cohort": "cohort", "full size": "full"}


class Gauges:
    """Gauges of one run; Ray publishes them on every machine's metrics port with the prefix ``ray_``.

    ``dip_images`` and ``dip_fits`` count how many are ``done`` and how many there are in ``total``.
    ``dip_running_fits`` counts the fits that run, ``dip_waiting_fits`` those that have no machine yet.
    ``dip_gpu_hours`` and ``dip_machine_hours`` are the hours that the run has used.
    """

    def __init__(self, run: str) -> None:
        self._run = {"run": run}
        self._images = Gauge("dip_images", "Images of a run.", ("run", "state"))
        self._fits = Gauge("dip_fits", "Fits of a run.", ("run", "stage", "state"))
        self._running = Gauge("dip_running_fits", "Fits that run.", ("run",))
        self._waiting = Gauge("dip_waiting_fits", "Fits that have no machine yet.", ("run",))
        self._gpu_hours = Gauge("dip_gpu_hours", "Hours of GPUs that were there for a run.", ("run",))
        self._machine_hours = Gauge("dip_machine_hours", "Hours of machines that were there for a run.", ("run",))

    def show(self, stages: Sequence[Stage], standing: QueueStanding, usage: Mapping[str, float]) -> None:
        """Publish the run's progress."""
        for stage in stages:
            for state, count in (("done", stage.done), ("total", stage.total)):
                if stage.name == "images":
                    self._images.set(count, {**self._run, "state": state})
                elif stage.name in _FITS:
                    self._fits.set(count, {**self._run, "stage": _FITS[stage.name], "state": state})
        self._running.set(standing.running, self._run)
        self._waiting.set(sum(standing.pending.values()) + standing.waiting, self._run)
        self._gpu_hours.set(usage["gpu_hours"], self._run)
        self._machine_hours.set(usage["machine_hours"], self._run)
