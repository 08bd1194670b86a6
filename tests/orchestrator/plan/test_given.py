import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError, UserMistakeError
from orchestrator.plan.given import folders_given, source_given
from orchestrator.run.inputs import Source

_CODE = """
import io, sys
from contextlib import redirect_stderr
from orchestrator.cli import main
good, store = sys.argv[1:]
new = ["--images", good, "--store", store]
wrong = ["--images", "nothere/", "--store", store]
commands = {
    "--images": [["submit", *wrong], ["submit", *wrong, "--dry-run"], ["submit", *wrong, "--address", "auto"],
                 ["study", *wrong, "--candidates", "3"], ["evaluate", *wrong, "--tickets", "r"]],
    "--masks": [["submit", *new, "--task", "inpaint", "--masks", "nothere/"]],
    "--references": [["submit", *new, "--references", "nothere/"]],
    "no settings file": [["submit", *new, "--config", "nothere"]],
    "cannot be read as YAML": [["submit", *new, "--config", sys.argv[1] + "/broken.yaml"]],
    "name": [["submit", *new, "--run", "../r"]],
    "ftp": [["submit", "--images", good, "--store", "ftp://x"]],
    "no run 'r'": [["resume", "r", "--store", store], ["resume", "r", "--retry-failed", "--store", store],
                   ["evaluate", *new, "--tickets", "r"]],
}
for said, given in commands.items():
    for words in given:
        with redirect_stderr(io.StringIO()) as told:
            status = main(words)
        assert status == 2, words
        assert said in told.getvalue(), (words, told.getvalue())
        assert told.getvalue().count("\\n") == 1, told.getvalue()
        assert not {"torch", "ray"} & set(sys.modules), words
"""


def test_what_is_not_there_is_told_before_anything_dear_is_imported(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/broken.yaml").write_text("fit: [")
    where = [str(tmp_path / "images"), str(tmp_path / "store")]
    subprocess.run([sys.executable, "-c", _CODE, *where], check=True, cwd=tmp_path)
    assert not (tmp_path / "store").exists()


def test_the_folders_of_a_new_run_are_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("7")
    assert source_given(tmp_path, None, tmp_path, mask_known="black") == Source(
        str(tmp_path), None, str(tmp_path), white_is_known=False
    )
    with pytest.raises(UserMistakeError, match=r"^--references .*: this is a file; give the folder"):
        source_given(tmp_path, file, None)
    with pytest.raises(UserMistakeError, match=r"^mask_known: white or black, not 'grey'$"):
        source_given(tmp_path, None, None, mask_known="grey")
    with pytest.raises(ConfigError, match="must hold settings by name"):
        source_given(tmp_path, None, None, config=file)


def test_the_folders_of_a_run_to_be_resumed_need_not_be_there(tmp_path: Path) -> None:
    assert folders_given(None, None, None) is None
    assert folders_given(tmp_path / "gone", None, "masks") == Source(str(tmp_path / "gone"), None, "masks")
    with pytest.raises(UserMistakeError, match="they go with images"):
        folders_given(None, None, "masks")
