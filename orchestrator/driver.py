"""From a plan to a finished run: Ray started and ended, the run's record kept, results and report written."""

import contextlib
import json
import logging
import os
import platform
import re
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
import torch
import yaml

from orchestrator import __version__
from orchestrator.comparison import write_comparison
from orchestrator.context import RunContext
from orchestrator.cpus import cpu_count
from orchestrator.errors import OrchestratorError, RunFailedError, StoreError, UserMistakeError
from orchestrator.images import decode_mask, encode_mask
from orchestrator.ingest import Rejected
from orchestrator.layout import RunLayout
from orchestrator.pipeline import Pipeline
from orchestrator.plan import Plan
from orchestrator.progress import Listener
from orchestrator.report.build import write_report
from orchestrator.resources import Resources
from orchestrator.results import Row, RowState, read_rows, rows_to_json, write_results
from orchestrator.run import RunRecord, RunState, now, this_driver
from orchestrator.store import Store
from orchestrator.text import printable
from orchestrator.trials import SessionSpec

OBJECT_STORE_BYTES = 256 * 2**20
"""Ray's object store carries records and references here, never images."""

TRIALS_PER_SESSION = 400
_NOTHING_KNOWN = "its mask leaves no pixel known; --mask-known says whether white or black is"


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    record: RunRecord
    rows: list[Row]


@contextlib.contextmanager
def local_ray(resources: Resources, *, dashboard: bool) -> Iterator[str | None]:
    """A Ray of our own on this machine, ended with the block; gives the dashboard's address.

    It has as many CPUs as the trials that run at once reserve, which is what bounds them. It never joins a cluster that
    happens to run, shows its dashboard on loopback only and sends no usage statistics.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    # Ray warns at every start about a future default; what it is then is set here already.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    _private_token()
    started = ray.init(
        address="local",
        num_cpus=resources.parallel * resources.threads,
        include_dashboard=dashboard,
        dashboard_host="127.0.0.1",
        object_store_memory=OBJECT_STORE_BYTES,
        configure_logging=True,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    try:
        yield f"http://{started.dashboard_url}" if dashboard and started.dashboard_url else None
    finally:
        with _uninterrupted():
            ray.shutdown()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let no second Ctrl-C into what ends a run: it takes seconds, and half-ended Ray processes would stay behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _private_token() -> None:
    """Make Ray's authentication token ourselves where there is none: Ray would let every user of the machine read it."""
    path = Path("~/.ray/auth_token").expanduser()
    if path.exists() or "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    with contextlib.suppress(OSError):  # a home that cannot be written is Ray's to deal with
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as handle:
            handle.write(secrets.token_hex(32))


def machine_facts(resources: Resources) -> dict[str, Any]:
    """What the figures of a run depend on."""
    return {
        "dip-orchestrator": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "ray", "numpy", "scikit-image")},
        "system": platform.platform(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cpus": cpu_count(),
        "device": resources.device,
        "gpu": torch.cuda.get_device_name() if resources.gpus else None,
        "threads_per_trial": resources.threads,
        "parallel_trials": resources.parallel,
        "gpus_per_trial": resources.gpus,
    }


def _begin(store: Store, plan: Plan) -> RunRecord:
    """Write the run's record, by which its name is taken, and its settings.

    Raises:
        UserMistakeError: another run has taken the name meanwhile.
    """
    layout = RunLayout(plan.run)
    record = RunRecord(
        run=plan.run,
        state=RunState.RUNNING,
        created=now(),
        images=len(plan.uploads) + len(plan.rejected),
        rejected=len(plan.rejected),
        simulate=plan.simulate,
        config=plan.config.model_dump(mode="json"),
        machine=machine_facts(plan.resources),
        driver=this_driver(),
    )
    if plan.continued is not None:
        record = replace(record, created=plan.continued.created)
        store.put(layout.record, record.to_json())
    elif not store.create(layout.record, record.to_json()):
        raise UserMistakeError(f"--run {plan.run}: the store {store.url} has a run of this name; choose another")
    store.put(layout.config, yaml.safe_dump(record.config, sort_keys=False).encode())
    return record


def _upload(store: Store, plan: Plan, listener: Listener) -> Plan:
    """Bring the inputs to the store; the plan of those that are there. A file that has vanished meanwhile is rejected."""
    layout = RunLayout(plan.run)
    max_pixels = plan.config.ingest.max_pixels
    uploaded, rejected = [], list(plan.rejected)
    for upload in plan.uploads:
        try:
            data = upload.path.read_bytes()
            reference = None if upload.reference_path is None else upload.reference_path.read_bytes()
            mask = None if upload.mask_path is None else upload.mask_path.read_bytes()
        except OSError as error:
            rejected.append(Rejected(upload.image.name, f"the file can no longer be read: {error.strerror or error}"))
            continue
        store.put(layout.input(upload.image.file), data)
        if reference is not None and upload.image.reference is not None:
            store.put(layout.reference(upload.image.reference), reference)
        if mask is not None and upload.image.mask is not None:
            known = decode_mask(mask, max_pixels=max_pixels, white_is_known=plan.white_is_known)
            if not known.any():
                rejected.append(Rejected(upload.image.name, _NOTHING_KNOWN))
                continue
            _put_mask(store, layout.mask(upload.image.mask), encode_mask(known), upload.image.name)
        uploaded.append(upload)
    plan = replace(plan, uploads=uploaded, rejected=rejected)
    store.put(layout.inputs, json.dumps([asdict(image) for image in plan.images]).encode())
    for key in list(store.keys(layout.rows)):
        if re.fullmatch(r"rejected-\d{6}\.json", key.rpartition("/")[2]):
            store.delete(key)  # an earlier attempt's; what is still so is said again
    for number, reject in enumerate(rejected):
        rows = [Row(reject.name, arm.name, RowState.REJECTED, reason=reject.reason) for arm in plan.arms]
        store.put(layout.row(f"rejected-{number:06}"), rows_to_json(rows).encode())
        listener.note(f"{reject.name}: rejected: {reject.reason}")
    return plan


def _put_mask(store: Store, key: str, mask: bytes, name: str) -> None:
    """Leave a mask in the store; a run that goes on must have the one that it began with.

    Raises:
        UserMistakeError: it has another.
    """
    if store.exists(key) and store.get(key) != mask:
        raise UserMistakeError(f"--masks: the mask of {printable(name)} is not the one that the run was begun with")
    store.put(key, mask)


def execute(store: Store, plan: Plan, listener: Listener, *, dashboard: bool = True) -> Outcome:
    """Carry out a plan on this machine.

    Raises:
        UserMistakeError: another run has taken the name meanwhile.
        StoreError: the store failed; the run's record says so if it still can.
        RunFailedError: something else failed that no image can be blamed for; the run's record says what.
        KeyboardInterrupt: the user stopped the run; what was finished is in the store, results and report included.
    """
    started = time.monotonic()
    resources = plan.resources
    record: RunRecord | None = None

    def end(state: RunState, reason: str | None = None) -> Outcome:
        assert record is not None  # noqa: S101 - nothing ends that has not begun
        seconds = round(time.monotonic() - started, 3)
        return _finish(store, plan, replace(record, state=state, finished=now(), seconds=seconds, reason=reason))

    with local_ray(resources, dashboard=dashboard) as dashboard_url:
        record = _begin(store, plan)
        try:
            plan = _upload(store, plan, listener)
            listener.note(
                f"run {plan.run}: {len(plan.uploads)} images, {plan.candidates} candidates, at most {plan.trials} fits;"
                f" {resources.parallel} at a time on {resources.device}, {resources.threads} thread(s) each"
            )
            if dashboard_url:
                listener.note(f"dashboard: {dashboard_url} (its token is in ~/.ray/auth_token)")
            context = RunContext(store.url, plan.run, plan.config, plan.simulate, resources.device, resources.threads)
            retries = plan.config.resources.retries
            spec = SessionSpec(TRIALS_PER_SESSION, resources.parallel, resources.threads, resources.gpus, retries)
            Pipeline(context, plan, spec, listener).run()
            return end(RunState.FINISHED)
        except KeyboardInterrupt:
            with _uninterrupted():
                end(RunState.INTERRUPTED, "stopped by the user")
            raise
        except OrchestratorError as error:
            with contextlib.suppress(StoreError):
                end(RunState.FAILED, str(error))
            raise
        except Exception as error:
            # Whatever it was, the record must not go on saying that the run is running. Nothing is hidden: --debug shows
            # the traceback.
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            with contextlib.suppress(StoreError):
                end(RunState.FAILED, reason)
            raise RunFailedError(f"the run {plan.run} failed: {reason}; --debug shows where") from error


def _finish(store: Store, plan: Plan, record: RunRecord) -> Outcome:
    """Write the table and the page of what is there, and last the record that says how the run ended."""
    layout = RunLayout(plan.run)
    rows = read_rows(store, layout)
    write_results(store, layout, rows)
    write_comparison(store, layout, rows)
    write_report(store, record, rows)
    store.put(layout.record, record.to_json())
    return Outcome(record, rows)
