"""The batch script for Slurm, carried out where ``srun``, ``scontrol``, ``ray`` and ``python`` are stand-ins that write
down how they were called.
"""

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from ray.scripts.scripts import start as ray_start

from orchestrator.cli import build_parser

SCRIPT = Path(__file__).parents[2] / "cluster/slurm.sh"
JOB = "4711"
DEADLINE_S = 300.0

# Each writes a line as a whole, because they run side by side. The stand-ins shorten the script's waits of a second.
STANDINS = {
    "srun": """
line=srun
while [ "${1#--}" != "$1" ]; do
  case $1 in --nodelist=*) machine=${1#*=} ;; esac
  line="$line $1"
  shift
done
echo "$line" >> "$FAKE/log"
# The machines of this test are one; on each of them the script makes a folder of the same name.
export DIP_RAY_FILES=$FAKE/$machine MACHINE=$machine
exec "$@"
""",
    "scontrol": """
case "$1 $2" in
  "show hostnames") printf '%s\\n' one two three ;;
  "show job") echo "JobId=$3 JobState=$(cat "$FAKE/state") Reason=None" ;;
  *) echo "scontrol $*" >> "$FAKE/log" ;;
esac
""",
    "ray": """
case $1 in
  health-check)
    echo "ray $*" >> "$FAKE/log"
    [ -e "$FAKE/ray-environment-one" ] || exit 1
    exit "$(cat "$FAKE/health")" ;;
  start)
    trap 'echo "ray on $MACHINE stopped" >> "$FAKE/log"; exit 1' TERM
    echo "ray on $MACHINE $*" >> "$FAKE/log"
    stat -c %a "$RAY_AUTH_TOKEN_PATH" "$(dirname "$RAY_AUTH_TOKEN_PATH")" "$DIP_RAY_FILES" > "$FAKE/modes-$MACHINE"
    cat "$RAY_AUTH_TOKEN_PATH" > "$FAKE/token-$MACHINE"
    env > "$FAKE/environment-new-$MACHINE"
    mv "$FAKE/environment-new-$MACHINE" "$FAKE/ray-environment-$MACHINE"
    [ ! -e "$FAKE/no-head" ] || exit 1
    while :; do /bin/sleep 0.05; done ;;
esac
""",
    "python": """
trap 'echo "driver was told to end" >> "$FAKE/log"; exit "$(cat "$FAKE/told")"' TERM
printf '%q ' driver "$@" >> "$FAKE/log"
echo >> "$FAKE/log"
env > "$FAKE/driver-environment"
while [ ! -e "$FAKE/ended" ]; do /bin/sleep 0.05; done
exit "$(cat "$FAKE/ended")"
""",
    "sleep": "exec /bin/sleep 0.05\n",
}


class Job:
    """The script as Slurm starts it on the first machine of three."""

    def __init__(self, folder: Path) -> None:
        self.fake = folder / "fake"
        self.home = folder / "home"
        for place in (self.fake, self.home, folder / "bin"):
            place.mkdir()
        for name, text in STANDINS.items():
            (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}")
            (folder / "bin" / name).chmod(0o755)
        self._bin = folder / "bin"
        self.set(health="0", state="RUNNING", told="130")
        self.process: subprocess.Popen[str] | None = None

    def set(self, **files: str) -> None:
        """The files that the stand-ins look at."""
        for name, text in files.items():
            (self.fake / f"{name}.new").write_text(text)
            (self.fake / f"{name}.new").rename(self.fake / name.replace("_", "-"))

    def begin(self, *arguments: str, job: str = JOB, **environment: str) -> None:
        """Start the script."""
        self.process = subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            cwd=self.home,
            env={
                "PATH": f"{self._bin}:/usr/bin:/bin",
                "HOME": str(self.home),
                "FAKE": str(self.fake),
                "SLURM_JOB_ID": job,
                "SLURM_JOB_NODELIST": "cluster[1-3]",
                "SLURM_CPUS_PER_TASK": "8",
                "SLURM_SUBMIT_DIR": str(self.home),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def log(self) -> list[str]:
        """The lines that the stand-ins have written so far."""
        path = self.fake / "log"
        return path.read_text().splitlines() if path.exists() else []

    def line(self, beginning: str) -> str:
        """The only line that begins so."""
        (line,) = [line for line in self.log() if line.startswith(beginning)]
        return line

    def until(self, beginning: str) -> None:
        """Wait until a line that begins so is there."""
        wait_for(lambda: any(line.startswith(beginning) for line in self.log()), beginning)

    def end(self) -> tuple[int, str]:
        """The script's status, and what it printed."""
        assert self.process is not None
        printed, _ = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, printed


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain for: {what}"
        time.sleep(0.02)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    yield job
    if job.process is not None and job.process.poll() is None:
        os.killpg(job.process.pid, signal.SIGKILL)
        job.process.communicate()


def options_of(line: str) -> dict[str, str]:
    """The options in a line of the log: ``--name=value``, or ``--name`` alone."""
    found = [word.partition("=") for word in shlex.split(line) if word.startswith("--")]
    return {name: value for name, _, value in found}


def test_the_script_has_no_faults_that_shellcheck_knows() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    subprocess.run([shellcheck, "--norc", str(SCRIPT)], check=True)


def test_slurm_is_told_to_warn_the_script_and_to_queue_it_again() -> None:
    told = re.findall(r"^#SBATCH --(\S+)$", SCRIPT.read_text(), re.MULTILINE)
    assert {"requeue", "signal=B:TERM@120", "no-kill", "open-mode=append", "ntasks-per-node=1"} <= set(told)
    # Slurm ignores everything after the first command.
    assert SCRIPT.read_text().rindex("#SBATCH") < SCRIPT.read_text().index("\nset -euo")


def test_every_machine_becomes_a_node_of_one_ray_and_the_driver_joins_it(job: Job) -> None:
    job.begin("--images", "my photos", "--store", "/shared/store")
    job.until("driver")
    for machine in ("one", "two", "three"):
        job.until(f"ray on {machine} start")
    job.set(ended="0")
    assert job.end()[0] == 0

    head, two, three = (job.line(f"ray on {machine} start") for machine in ("one", "two", "three"))
    port = options_of(head)["--port"]
    assert "--head" in options_of(head)
    assert {options_of(line)["--address"] for line in (two, three)} == {f"one:{port}"}
    for line in (head, two, three):
        assert options_of(line).items() >= {"--block": "", "--num-cpus": "8", "--num-gpus": "0"}.items()
        assert options_of(line)["--min-worker-port"] == options_of(line)["--max-worker-port"] == "0"
    assert options_of(head)["--dashboard-host"] == "127.0.0.1"
    # Sockets have short names, and nobody else may look into the folder (tried below).
    assert options_of(head)["--temp-dir"] == f"/tmp/dip-{JOB}-0/ray"  # noqa: S108

    driver = shlex.split(job.line("driver"))
    parsed = build_parser().parse_args(driver[driver.index("orchestrator") + 1 :])
    assert driver[1:3] == ["-m", "orchestrator"]
    assert (parsed.command, parsed.images, parsed.store) == ("submit", "my photos", "/shared/store")
    assert (parsed.run, parsed.address) == (f"slurm-{JOB}", "auto")
    assert f"RAY_ADDRESS=one:{port}" in (job.fake / "driver-environment").read_text().splitlines()

    # The others are started when the head answers, and no file is left.
    log = job.log()
    answered = max(place for place, line in enumerate(log) if line.startswith("ray health-check"))
    assert log.index(head) < answered < min(log.index(line) for line in (two, three, job.line("driver")))
    assert sorted(line for line in job.log() if "stopped" in line) == [
        f"ray on {machine} stopped" for machine in ("one", "three", "two")
    ]
    assert not any((job.fake / machine).exists() for machine in ("one", "two", "three"))


def test_ray_knows_all_options_that_it_is_given(job: Job) -> None:
    assert isinstance(ray_start, click.Command)
    known = {option for parameter in ray_start.params for option in parameter.opts}
    job.begin("--images", "photos")
    for machine in ("one", "two", "three"):
        job.until(f"ray on {machine} start")
    job.until("driver")
    job.set(ended="0")
    job.end()
    given = {name for line in job.log() if line.startswith("ray on") for name in options_of(line)}
    assert given <= known
    assert "--disable-usage-stats" in given


def test_a_slurm_step_takes_one_machine_and_may_share_it(job: Job) -> None:
    job.begin("--images", "photos")
    job.until("driver")
    job.until("ray on three start")
    job.set(ended="0")
    job.end()
    steps = [options_of(line) for line in job.log() if line.startswith("srun")]
    assert sorted(step["--nodelist"] for step in steps) == ["one", "three", "two"]
    for step in steps:
        assert step.items() >= {"--overlap": "", "--nodes": "1", "--ntasks": "1", "--cpus-per-task": "8"}.items()


def test_gpus_that_slurm_has_granted_are_ray_s(job: Job) -> None:
    job.begin("--images", "photos", SLURM_GPUS_ON_NODE="2")
    job.until("driver")
    job.until("ray on two start")
    job.set(ended="0")
    job.end()
    assert options_of(job.line("ray on two start"))["--num-gpus"] == "2"


def test_the_token_is_this_job_s_own_and_nobody_else_s_to_read(job: Job) -> None:
    job.begin("--images", "photos")
    job.until("driver")
    job.until("ray on two start")
    wait_for((job.fake / "ray-environment-two").exists, "the second machine")
    job.set(ended="0")
    job.end()
    token = (job.fake / "token-one").read_text()
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert (job.fake / "token-two").read_text() == token
    assert (job.fake / "modes-one").read_text().split() == ["600", "700", "700"]
    for environment in ("ray-environment-one", "ray-environment-two", "driver-environment"):
        lines = (job.fake / environment).read_text().splitlines()
        assert {"RAY_AUTH_MODE=token", "RAY_USAGE_STATS_ENABLED=0"} <= set(lines)
        assert any(line.startswith(f"RAY_AUTH_TOKEN_PATH={job.home}/.dip/") for line in lines)
        assert token not in "".join(lines)
    assert not any(token in line for line in job.log())
    assert list((job.home / ".dip").iterdir()) == []
    # The driver's files are as open as the user's others.
    assert stat.S_IMODE((job.home / ".dip").stat().st_mode) & 0o077 == stat.S_IMODE(job.home.stat().st_mode) & 0o077


def test_two_starts_have_two_tokens_and_other_files(job: Job, tmp_path_factory: pytest.TempPathFactory) -> None:
    again = Job(tmp_path_factory.mktemp("again"))
    for one, restarts in ((job, "0"), (again, "3")):
        one.set(ended="0")
        one.begin("--images", "photos", SLURM_RESTART_COUNT=restarts)
        one.end()
    tokens = [(one.fake / "token-one").read_text() for one in (job, again)]
    files = [options_of(one.line("ray on one start"))["--temp-dir"] for one in (job, again)]
    assert tokens[0] != tokens[1]
    assert files == [f"/tmp/dip-{JOB}-{restarts}/ray" for restarts in (0, 3)]  # noqa: S108


@pytest.mark.parametrize("status", [0, 1, 2])
def test_the_driver_s_status_is_the_job_s(job: Job, status: int) -> None:
    job.set(ended=str(status))
    job.begin("--images", "photos")
    assert job.end()[0] == status
    assert not any("requeue" in line for line in job.log())


def test_a_warned_job_pauses_the_run_and_is_queued_again_when_all_nodes_have_ended(job: Job) -> None:
    job.begin("--images", "photos")
    job.until("driver")
    job.until("ray on three start")
    assert job.process is not None
    job.process.send_signal(signal.SIGTERM)
    status, printed = job.end()
    assert status == 130
    assert "queued again" in printed
    assert job.log()[-1] == f"scontrol requeue {JOB}"
    assert [line for line in job.log() if "told to end" in line] == ["driver was told to end"]
    assert len([line for line in job.log() if "stopped" in line]) == 3


def test_a_cancelled_job_pauses_the_run_and_stays_cancelled(job: Job) -> None:
    job.set(state="CANCELLED")
    job.begin("--images", "photos")
    job.until("driver")
    assert job.process is not None
    job.process.send_signal(signal.SIGTERM)
    assert job.end()[0] == 130
    assert "driver was told to end" in job.log()
    assert not any("requeue" in line for line in job.log())


@pytest.mark.parametrize("status", [0, 2, 65])
def test_a_run_that_came_to_its_end_all_the_same_is_not_queued_again(job: Job, status: int) -> None:
    job.set(told=str(status))
    job.begin("--images", "photos")
    job.until("driver")
    assert job.process is not None
    job.process.send_signal(signal.SIGTERM)
    assert job.end()[0] == status
    assert not any("requeue" in line for line in job.log())


def test_a_job_that_is_warned_before_its_head_answers_starts_no_driver_and_is_queued_again(job: Job) -> None:
    job.set(health="1")
    job.begin("--images", "photos")
    job.until("ray health-check")
    assert job.process is not None
    job.process.send_signal(signal.SIGTERM)
    assert job.end()[0] == 130
    assert not any(line.startswith(("driver", "ray on two")) for line in job.log())
    assert job.log()[-1] == f"scontrol requeue {JOB}"


def test_a_head_that_does_not_start_ends_the_job(job: Job) -> None:
    job.set(health="1", no_head="")
    job.begin("--images", "photos")
    status, printed = job.end()
    assert status == 1
    assert "Ray's head did not start on one" in printed
    assert not any(line.startswith(("driver", "scontrol")) for line in job.log())
    assert list((job.home / ".dip").iterdir()) == []


def test_ports_are_drawn_from_the_job_s_number_below_those_that_systems_give_out(
    job: Job, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ports: list[set[int]] = []
    other = Job(tmp_path_factory.mktemp("other"))
    for one, number in ((job, "1199"), (other, "98701200")):
        one.set(ended="0")
        one.begin("--images", "photos", job=number)
        one.end()
        options = options_of(one.line("ray on one start"))
        names = ("--port", "--dashboard-port", "--ray-client-server-port", "--dashboard-agent-listen-port")
        ports.append({int(options[name]) for name in names})
    assert all(len(group) == 4 for group in ports)
    assert not ports[0] & ports[1]
    assert all(20000 <= port < 32768 for port in ports[0] | ports[1])


def test_an_environment_that_is_named_must_be_there(job: Job) -> None:
    job.begin("--images", "photos", DIP_VENV="/nowhere")
    status, printed = job.end()
    assert (status, printed.strip()) == (2, "DIP_VENV: there is no environment in /nowhere")


def test_outside_slurm_the_script_says_how_it_is_meant() -> None:
    done = subprocess.run(
        ["bash", str(SCRIPT)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "sbatch cluster/slurm.sh" in done.stderr
