import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import UserMistakeError
from orchestrator.store import open_store


def test_a_path_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("here").url == str(tmp_path / "here")
    assert open_store(str(tmp_path)).show("a") == str(tmp_path / "a")


def test_a_bucket_is_asked_nothing_yet() -> None:
    assert open_store("s3://bucket/prefix?region=eu-central-1").show("a/b") == "s3://bucket/prefix/a/b"


@pytest.mark.parametrize("url", ["gs://bucket/prefix", "http://host/path", "file:///path"])
def test_other_places_are_refused_by_what_there_is(url: str) -> None:
    with pytest.raises(UserMistakeError, match="a store is a folder's path or s3://bucket/prefix"):
        open_store(url)


def test_who_uses_a_folder_does_not_wait_for_boto3() -> None:
    code = "import sys; from orchestrator.store import open_store; open_store('x'); sys.exit('boto3' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
