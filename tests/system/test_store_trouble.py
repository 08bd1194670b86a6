"""A run on a real S3 server: its records after a calm run, and its fate when the server goes away."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.run.layout import RunLayout
from orchestrator.store import Store, open_store
from tests.seaweed import SeaweedFS
from tests.system.conftest import LONGER, CommandLine, files_below, folder_of


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeaweedFS]:
    for name, value in SeaweedFS.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DIP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "server").mkdir()
    with SeaweedFS(tmp_path / "server") as server:
        server.make_bucket("images")
        yield server


def objects(store: Store, prefix: str) -> dict[str, bytes]:
    return {key.removeprefix(f"{prefix}/"): store.get(key) for key in store.keys(prefix)}


def test_a_run_outlives_its_store_being_away_and_pauses_where_it_stays_away(
    calm: CommandLine, server: SeaweedFS
) -> None:
    url = server.url("images", "mine")
    store = open_store(url, patience_s=60)
    root = RunLayout("shot").root

    patient = [*LONGER, "resources.store_patience_s=90"]
    command = calm.submit("--images", "noisy", "--run", "shot", "--store", url, settings=patient)
    with subprocess.Popen(
        command, cwd=calm.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            wait_for_a_checkpoint(store, root, process)
            # Away for some seconds, in which checkpoints and results have nowhere to go.
            server.kill()
            time.sleep(5)
            server.start()
            # The records from before are there, and the run continues by itself; then the server stays away.
            wait_for_a_checkpoint(store, root, process)
            process.terminate()
            told, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, told
    assert "resume shot --store" in told

    short = ["--set", "resources.store_patience_s=1"]
    command = calm.command("resume", "shot", "--no-dashboard", "--store", url, *short)
    with subprocess.Popen(
        command, cwd=calm.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                told += line
                if line.startswith("run shot"):
                    break
            server.kill()
            rest, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 75, rest
    assert "; the run shot is paused" in rest
    assert "go on with       python -m orchestrator resume shot --store 's3://images/mine?" in rest
    assert "Traceback" not in rest

    server.start()
    done = calm.run(calm.command("resume", "shot", "--no-dashboard", "--store", url))
    assert done.returncode == 0, done.stdout + done.stderr
    local = folder_of(calm, "calm")
    for what in ("restored", "picks", "scores"):
        assert objects(store, f"{root}/{what}") == files_below(local / what), what

    # The secret is nowhere: not in a file, not in the output.
    secret = SeaweedFS.environment["AWS_SECRET_ACCESS_KEY"]
    assert secret not in told + rest + done.stdout + done.stderr
    everything = objects(store, "runs") | objects(store, "fingerprints")
    assert not [key for key, data in everything.items() if secret.encode() in data]
    assert {"shot/report/index.html", "shot/run.json", "shot/results.csv"} <= everything.keys()


def wait_for_a_checkpoint(store: Store, root: str, process: "subprocess.Popen[str]") -> None:
    before = {key: store.get(key) for key in store.keys(root) if key.endswith("checkpoint.pt")}
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        if any(key.endswith("checkpoint.pt") and key not in before for key in store.keys(root)):
            return
        time.sleep(0.1)
