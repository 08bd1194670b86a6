import contextlib
import gc
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.cli import main
from orchestrator.drive.local_ray import make_token
from orchestrator.store.sums import SUMS
from tests.system.hook import write_hook
from tests.system.warm import act, warm_workers

from ray._private import parameter  # isort: skip - what it reads from the environment, local_ray has set
from ray.cluster_utils import Cluster  # isort: skip

# How long something is waited for that takes seconds on a machine of its own. Others may keep this one busy.
PATIENCE_S = 900

TINY = (
    "network.width=8",
    "score.candidates=4",
    "score.chunk=2",
    "cohort.size=2",
    "cohort.crop_px=64",
    "cohort.iterations=8",
    "fit.iterations=10",
    "fit.patience=10",
    "fit.block=5",
    "pick.full_fits=2",
    "classical.use=false",
    # One trial at a time: each of these processes imports torch, and several tests run side by side.
    "resources.parallel=1",
)


RESULT_KEYS = {
    *("image", "arm", "state", "reason", "candidate", "rule", "stopping", "note", "stop_iteration", "held_out_error"),
    *("psnr_low", "psnr_high", "psnr_degraded", "psnr", "psnr_y", "ssim", "psnr_oracle_stop", "psnr_mean"),
    *(
        "iterations",
        "seconds",
        "picked",
        "round",
        "initialisation",
        "sparsity",
        "parameters",
        "source",
        "psnr_last",
        "blind",
    ),
    *("delivered", "psnr_delivered", "psnr_stack", "held_out_pick", "held_out_mean", "held_out_stack"),
    *("held_out_stack_standard_error", "stack_weights", "classical", "psnr_classical", "held_out_classical"),
    *("gain_over_classical", "gain_over_degraded", "multiply_adds", "revealed"),
    "psnr_before_reveal",
}


@dataclass
class CommandLine:
    """Runs the command line as a user does, in an empty folder: in a process of its own, or in this one.

    Its runs start a Ray of their own, or join the one at ``address``.
    """

    folder: Path
    address: str | None = None

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator", *arguments]

    def submit(self, *arguments: str, settings: Sequence[str] = TINY) -> list[str]:
        assignments = [word for setting in settings for word in ("--set", setting)]
        return self.driving("submit", *assignments, *arguments)

    def driving(self, command: str, *arguments: str) -> list[str]:
        """A command that drives a run."""
        where = ["--no-dashboard"] if self.address is None else ["--address", self.address]
        return self.command(command, *where, *arguments)

    def run(
        self, command: list[str], environment: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONWARNINGS": "default", **environment}
        return subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )

    def here(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in this process, which has imported everything already: a third of a small run is imports."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = main(command[command.index("orchestrator") + 1 :])
        # Ray does not wait for the processes that it ends with.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        return subprocess.CompletedProcess(command, status, output.getvalue(), errors.getvalue())

    def rows(self, run: str) -> list[dict[str, Any]]:
        shown = self.here(self.command("results", run, "--json"))
        assert shown.returncode == 0, shown.stderr
        rows: list[dict[str, Any]] = json.loads(shown.stdout)
        return rows

    def records(self) -> list[dict[str, Any]]:
        """The runs, as the command line lists them for programs."""
        listed = self.here(self.command("runs", "--json"))
        assert listed.returncode == 0, listed.stderr
        records: list[dict[str, Any]] = json.loads(listed.stdout)
        return records


def files_below(folder: Path) -> dict[str, bytes]:
    """The files below a folder of a store, without the lists of their checksums, whose order is that of writing."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != SUMS)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


MEMORY = 128 * 2**20
"""Of the object store of a node."""


@pytest.fixture(scope="package", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Workers of every Ray that is started here, or by a process that is, are forked."""
    with warm_workers(tmp_path_factory.mktemp("warm")) as environment, pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        # This process has imported Ray already.
        patched.setattr(parameter.RayParams, "update_if_absent", parameter.RayParams.update_if_absent)
        act(parameter)
        yield


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """All as users have it: what is started from here starts its workers itself."""
    monkeypatch.delenv("WARM_WORKER")


@pytest.fixture(scope="package")
def ray_address(warm: None) -> Iterator[str]:
    """A Ray that runs join which need none of their own: a quarter of a tiny run is Ray's start."""
    make_token()
    head = {"num_cpus": 2, "object_store_memory": MEMORY, "include_dashboard": False}
    # Nobody asks for more machines, and nobody reads the logs of workers.
    cluster = Cluster(initialize_head=True, head_node_args={**head, "no_monitor": True, "include_log_monitor": False})
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


# Long enough to be killed in the middle of a fit, with checkpoints that are worth something.
LONGER = (
    *TINY,
    "cohort.iterations=120",
    "fit.iterations=120",
    "fit.patience=120",
    "fit.checkpoint_s=0.2",
    "fit.tile=64",
    "keep.fits=all",
)


@pytest.fixture(scope="package")
def calm(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> CommandLine:
    """A folder with two images, ``noisy``, and an undisturbed run of them with LONGER settings, ``calm``.

    The second image is cut into two tiles.
    """
    cli = CommandLine(tmp_path_factory.mktemp("calm"))
    for number, (name, height) in enumerate({"a": 64, "b": 70}.items()):
        save_rgb(cli.folder / f"noisy/{name}.png", height, phase=number, noise=0.1)
    joined = CommandLine(cli.folder, ray_address)
    done = cli.here(joined.submit("--images", "noisy", "--run", "calm", settings=LONGER))
    assert done.returncode == 0, done.stderr
    return cli


# Which node each fit is on, and how far it is.
TRACE = """
import os
import ray


def act(module):
    fit = module.run_fit

    def told(context, job, subject_of, *, on_progress, **options):
        node = ray.get_runtime_context().get_node_id()

        def progress(iteration, error):
            with open(os.environ["TRACE"], "a") as file:
                print(node, job.image.id, job.place, job.name, iteration, file=file)
            on_progress(iteration, error)

        return fit(context, job, subject_of, on_progress=progress, **options)

    module.run_fit = told
"""


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    environment = write_hook(tmp_path / "hook", "orchestrator.fit.fit", TRACE)
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([environment["PYTHONPATH"], root]))
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return tmp_path / "trace"


def folder_of(cli: CommandLine, run: str) -> Path:
    return cli.folder / "dip-store/runs" / run


def curves(folder: Path) -> dict[str, list[dict[str, object]]]:
    """The record of every fit of a run, except for clock times."""
    packed = sorted((folder / "cohorts").glob("*.parquet"))
    return {path.name: pq.read_table(path).drop_columns(["seconds"]).to_pylist() for path in packed}


def assert_as_calm(cli: CommandLine, run: str) -> None:
    """A run of the calm one's images and settings has left the same, whatever happened to it.

    There is a row for each image, also for the one of tiles.
    """
    for what in ("restored", "picks", "scores"):
        assert files_below(folder_of(cli, run) / what) == files_below(folder_of(cli, "calm") / what), what
    assert curves(folder_of(cli, run)) == curves(folder_of(cli, "calm"))
    rows = list((folder_of(cli, run) / "rows").glob("*.json"))
    assert len(rows) == len(list((cli.folder / "noisy").iterdir()))
    tiles = {path.name for path in (folder_of(cli, run) / "fits").glob("*/full-*")}
    assert tiles == {"full-0-0-64x64", "full-6-0-64x64"}


def smooth(height: int, width: int, channels: int, phase: float = 0) -> np.ndarray:
    """A smooth picture (H, W, C) in [0, 1]."""
    rows, columns = np.mgrid[0:height, 0:width] / 12
    return np.stack([0.5 + 0.4 * np.sin(rows + columns + phase + c) for c in range(channels)], axis=-1)


def save_rgb(path: Path, height: int = 70, width: int = 64, phase: float = 0, noise: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = smooth(height, width, 3, phase) + np.random.default_rng(0).normal(0, noise, (height, width, 3))
    Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)).save(path)
