"""Hand a run to a cluster: its images go to the store, its driver becomes a Ray job on the head.

The job is just `resume` of the run on the cluster: all that it needs is in the store. So the run does not need the
machine that submitted it, and if the head dies, another cluster can resume it.
"""

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from orchestrator.drive.driver import begin
from orchestrator.drive.inputs import files_of
from orchestrator.errors import OrchestratorError, UserMistakeError
from orchestrator.ingest.bring import Bringing
from orchestrator.plan.plan import Plan
from orchestrator.run.attempt import latest
from orchestrator.run.layout import RunLayout
from orchestrator.run.progress import Listener, Stage
from orchestrator.run.versions import project_version
from orchestrator.store import Store
from orchestrator.text import printable

_LOG_SHOWN = 3000
_READY_S = 60.0


@dataclass(frozen=True)
class Job:
    """A driver on a cluster: the cluster's dashboard, and the id of its Ray job."""

    cluster: str
    id: str


def check_reachable_from_machines(store: Store) -> None:
    """Check that other machines can see a store.

    Raises:
        UserMistakeError: the store is a folder of this machine.
    """
    if "://" not in store.url:
        raise UserMistakeError(
            f"--store {store.url}: a folder of this machine cannot be seen by the cluster; give a bucket, s3://bucket/prefix,"
            " or, where all its machines share a file system, submit on one of them with --address auto"
        )


class Cluster:
    """A cluster that is reached from outside, through its dashboard.

    Args:
        address: The dashboard's URL, such as ``http://127.0.0.1:8265``.

    Raises:
        UserMistakeError: the cluster cannot be reached or refuses us; `doctor --address` finds out more.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        if not self.address.startswith(("http://", "https://")):
            raise UserMistakeError(
                f"--address {printable(address)}: give the dashboard's, http://127.0.0.1:8265,"
                " or auto on a machine of the cluster"
            )
        # No proxy on the way may see the token, which is for the cluster.
        no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        for name in ("no_proxy", "NO_PROXY"):
            os.environ[name] = ",".join(filter(None, (no_proxy, urlsplit(self.address).hostname)))
        # Ray prefers an address from the environment to the one that it is given.
        others = {
            name: os.environ.pop(name) for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS") if name in os.environ
        }
        # Imported here: few runs are handed over, and it takes half a second. It reads variables of the environment
        # that the driver's modules have set.
        from ray.job_submission import JobSubmissionClient  # noqa: PLC0415

        try:
            with self._explained():
                self._client = JobSubmissionClient(self.address)
        finally:
            os.environ.update(others)

    @contextlib.contextmanager
    def _explained(self) -> Any:
        try:
            yield
        except OrchestratorError:
            raise
        except Exception as error:
            # Errors of many kinds arrive here: any server may answer at that address.
            reason = printable(" ".join(f"{type(error).__name__}: {error}".split())[:300])
            raise UserMistakeError(
                f"--address {self.address}: {reason};"
                f" `python -m orchestrator doctor --address {self.address}` says what is wrong"
            ) from None

    def drive(
        self, store: Store, run: str, assignments: Sequence[str], *, after: int = 0, ship_code: bool = False
    ) -> Job:
        """Start a driver for a run that is in the store.

        Args:
            store: Where the run is.
            run: Its name.
            assignments: Settings of the form ``a.b=value`` that replace recorded ones.
            after: The number of the claim that the driver follows. It does not begin if the run is cancelled under a
                later claim.
            ship_code: Send this machine's code along. Otherwise the cluster's machines must have the same code.
        """
        # With -P, Python does not take a folder in the job's working directory for the project.
        command = ["python", "-P", "-m", "orchestrator", "resume", run, "--store", store.url, "--address", "auto"]
        command += ["--submitted-by", project_version(), "--after", str(after)]
        command += [word for assignment in assignments for word in ("--set", assignment)]
        environment: dict[str, Any] = {}
        if ship_code:
            # Ray sends these folders under the packages' names. In a checkout the shipped settings lie next to them.
            environment["py_modules"] = [str(files(name)) for name in ("orchestrator", "workers")]
        with self._explained():
            submitted = sum(job.submission_id is not None for job in self._client.list_jobs())
            submit = partial(
                self._client.submit_job,
                entrypoint=shlex.join(command),
                runtime_env=environment,
                submission_id=f"dip-{run}-{submitted + 1}",
                metadata={"run": run, "store": store.url},
            )
            return Job(self.address, _when_ready(submit))

    def last_job(self, store: Store, run: str) -> Job:
        """Find the latest job that drove a run of this store on this cluster.

        Raises:
            UserMistakeError: there is none.
        """
        with self._explained():
            metadata = {"run": run, "store": store.url}
            jobs = [job for job in self._client.list_jobs() if metadata.items() <= (job.metadata or {}).items()]
        if not jobs:
            raise UserMistakeError(f"--address {self.address}: the run {run} has no job there")
        return Job(self.address, str(max(jobs, key=lambda job: job.start_time or 0).submission_id))

    def why_it_ended(self, job: Job) -> str | None:
        """Return the end of a driver's output if the driver has ended; None while it runs."""
        with self._explained():
            if not self._client.get_job_status(job.id).is_terminal():
                return None
            return self.log(job)[-_LOG_SHOWN:]

    def log(self, job: Job) -> str:
        """Return the whole output of a driver."""
        with self._explained():
            return str(self._client.get_job_logs(job.id))


def _when_ready(submit: Callable[[], str]) -> str:
    """Submit a job; wait while the cluster has just started and has no agent yet to take it."""
    end = time.monotonic() + _READY_S
    while True:
        try:
            return submit()
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(1)


def bring_over(store: Store, plan: Plan, listener: Listener) -> None:
    """Write everything to the store that a driver needs if it knows only the run's name."""
    begin(store, plan, {"dip-orchestrator": project_version()})
    total = plan.coming
    if total:
        with Bringing(
            store,
            RunLayout(plan.run),
            files_of(plan),
            total,
            plan.rejected,
            config=plan.config,
            white_is_known=plan.source.white_is_known,
        ) as bringing:
            bringing.wait(lambda coming: listener.update([Stage("upload", total - coming, total)]))


def hand_over(store: Store, plan: Plan, cluster: Cluster, listener: Listener, *, ship_code: bool = False) -> Job:
    """Bring a run to the store and start its driver on a cluster."""
    after = latest(store, RunLayout(plan.run))
    bring_over(store, plan, listener)
    return cluster.drive(store, plan.run, plan.driver_settings, after=after, ship_code=ship_code)
