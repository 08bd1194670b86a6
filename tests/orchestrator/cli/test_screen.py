import os
import subprocess
import sys
from pathlib import Path

import pytest

# A command that prints far more than a pipe or a buffer holds, and then leaves a word that it came to its end.
CHATTY = """
import sys
from pathlib import Path
from orchestrator.cli.screen import muted_when_lost, open_streams
from orchestrator.cli.shown.live import LiveProgress

open_streams()
with muted_when_lost():
    with LiveProgress() as progress:
        for number in range(5_000):
            progress.note(f"line {number}: \\u65e5\\u672c")
    print("results", flush=True)
    print("more", file=sys.stderr)
Path(sys.argv[1]).write_text("the end")
"""


def run(shell: str, tmp_path: Path, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    """Let a shell run ``CHATTY`` as $CHATTY; its exit status is the one that the shell prints last."""
    script = tmp_path / "chatty.py"
    script.write_text(CHATTY)
    command = f"{sys.executable} {script} {tmp_path / 'end'}"
    return subprocess.run(
        ["bash", "-c", shell],
        env={**os.environ, "CHATTY": command, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    "shell",
    [
        "$CHATTY | head -n 2; exit ${PIPESTATUS[0]}",
        "$CHATTY 2>&1 | true; exit ${PIPESTATUS[0]}",
        "$CHATTY > /dev/full",
        "$CHATTY > /dev/full 2>&1",
        "$CHATTY >&-",
        "$CHATTY >&- 2>&- <&-",
    ],
)
def test_a_run_whose_output_nobody_takes_goes_on(shell: str, tmp_path: Path) -> None:
    done = run(shell, tmp_path)
    assert (done.returncode, (tmp_path / "end").read_text()) == (0, "the end")
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_a_name_that_the_terminal_lacks_is_shown_with_question_marks(tmp_path: Path) -> None:
    done = run("$CHATTY", tmp_path, encoding="latin-1")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, b"line 0: ??")


def test_a_file_that_is_opened_does_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os; from orchestrator.cli.screen import open_streams; open_streams();"
        f"file = os.open({str(tmp_path / 'file')!r}, os.O_WRONLY | os.O_CREAT); print('lost');"
        f"os.write(file, b'kept' + str(file > 2).encode())"
    )
    shell = f'{sys.executable} -c "{code}" >&- <&-'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "file").read_bytes() == b"keptTrue"
