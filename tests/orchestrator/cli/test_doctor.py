import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.doctor.check import Check

GOOD = Check("ray", "Ray 2.60.0")
BAD = Check("store", "the disk\x1b[31m is full", "free some\nspace")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    places: list[tuple[str, str | None]] = []

    def examine(place: str, address: str | None = None) -> Iterator[Check]:
        places.append((place, address))
        yield GOOD
        if place == "bad":
            yield BAD

    monkeypatch.setattr("orchestrator.doctor.examine.examine", examine)
    return places


def test_a_line_for_each_check_and_status_0_where_nothing_is_wrong(
    asked: list[tuple[str, str | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--store", "good", "--address", "http://h:1"]) == 0
    assert asked == [("good", "http://h:1")]
    assert capsys.readouterr().out == "ok     ray: Ray 2.60.0\n"


def test_what_is_wrong_is_told_on_one_line_with_what_to_do_and_status_78(
    asked: list[tuple[str, str | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--store", "bad"]) == 78
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["ok     ray: Ray 2.60.0", "wrong  store: the disk\\x1b[31m is full -> free some\\nspace"]


def test_programs_are_told_the_same(asked: list[tuple[str, str | None]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--store", "bad", "--json"]) == 78
    assert json.loads(capsys.readouterr().out) == [
        {"check": "ray", "ok": True, "found": "Ray 2.60.0", "advice": None},
        {"check": "store", "ok": False, "found": BAD.found, "advice": BAD.advice},
    ]


def test_the_store_is_the_one_that_other_commands_use(
    asked: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIP_STORE", "there")
    assert main(["doctor"]) == 0
    assert main(["doctor", "--store", "here"]) == 0
    monkeypatch.delenv("DIP_STORE")
    assert main(["doctor"]) == 0
    assert [place for place, _ in asked] == ["there", "here", "dip-store"]


def test_no_secret_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, f"hush-{name}")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for place in (str(tmp_path / "store"), "s3://bucket/x?secret_access_key=hush-hush", "s3://me:hush@bucket/x"):
        main(["doctor", "--store", place, "--address", "http://me:hush@127.0.0.1:1"])
    out, err = capsys.readouterr()
    assert "hush" not in out + err
    assert "set: AWS_" in out
    assert "Traceback" not in out + err
