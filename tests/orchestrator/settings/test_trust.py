import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.errors import ConfigError
from orchestrator.settings import Config, change, described_settings, resolve
from orchestrator.settings.trust import KEPT, Stored, code_settings

CODE = "an_evil_module:f"

_watched: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is not None and event in ("open", "os.listdir", "os.scandir"):
        _watched.append(str(arguments[0]))


sys.addaudithook(_watch)  # it cannot be taken away again


class _Finder:
    """Finds no module, and notes which ones are looked for."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if _watched is not None:
            _watched.append(name)


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every module that is looked for, and every file that is opened, during the test."""
    global _watched  # noqa: PLW0603 - an audit hook sees nothing else
    monkeypatch.setattr(sys, "meta_path", [_Finder(), *sys.meta_path])
    _watched = []
    yield _watched
    _watched = None


def settings_with(name: str, value: object) -> dict[str, Any]:
    """Settings in which the one of this name (as `described_settings` has it) has the value."""
    settings: dict[str, Any] = {}
    *sections, last = name.split(".")
    place = settings
    for section in sections:
        if section.endswith("[]"):
            place[section[:-2]] = [{"name": "mine", "networks": ["dip"]}]
            place = place[section[:-2]][0]
        else:
            place = place.setdefault(section, {})
    if name.endswith(".metric"):
        place.pop("networks", None)
    place[last] = value
    return settings


@pytest.mark.parametrize("stored", [Stored(), KEPT], ids=["to be worked with", "only read"])
@pytest.mark.parametrize("name", [name for name, _, _ in described_settings()])
def test_no_setting_of_a_record_imports_code_or_reads_a_file(
    name: str, stored: Stored, touched: list[str], tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("1 2 3\n")
    touched.clear()
    for word in (CODE, str(secret)):
        for value in (word, [word], {"metric": word}, [{"name": "mine", "metric": word}]):
            try:
                Config.model_validate(settings_with(name, value), context=stored)
            except ValidationError:
                continue
    assert [what for what in touched if what.startswith("an_evil_module") or what == str(secret)] == []


def test_the_watch_sees_what_the_same_settings_do_as_the_users_own(touched: list[str], tmp_path: Path) -> None:
    kernel = tmp_path / "kernel.txt"
    kernel.write_text("0.5 0.5 0\n")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        resolve("quickstart", [f"score.metric={CODE}"])
    resolve("quickstart", [f"task.kernel={kernel}"])
    assert {"an_evil_module", str(kernel)} <= set(touched)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"score": {"metric": CODE}}, "score.metric"),
        ({"score": {"also": ["task loss", CODE]}}, "score.also.1"),
        ({"arms": ["dip", {"name": "mine", "metric": CODE}]}, "arms.1.metric"),
        # An installed package's, which the store would choose among.
        ({"score": {"metric": "an entry point"}}, "score.metric"),
    ],
)
def test_a_record_that_names_code_is_refused_by_the_setting_and_can_be_read(
    settings: dict[str, Any], name: str
) -> None:
    recorded = Config.model_validate(settings, context=KEPT)
    with pytest.raises(ConfigError) as refused:
        change(recorded, ["resources.parallel=1"], trust=False)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{name}: the run's record names code, '")
    assert "--trust" in line
    assert "--set" in line


def test_code_that_the_user_gives_or_trusts_is_imported() -> None:
    recorded = Config.model_validate(
        {"score": {"metric": "operator:sub"}, "arms": ["dip", {"name": "mine", "metric": "operator:add"}]}, context=KEPT
    )
    assert change(recorded, [], trust=True) == recorded
    given = code_settings(recorded)
    assert given == [
        f"arms={json.dumps(recorded.model_dump(mode='json')['arms'])}",
        'score.metric="operator:sub"',
    ]
    assert change(recorded, given, trust=False) == recorded
    with pytest.raises(ConfigError, match=r"^arms\.1\.metric: [^\n]*$"):
        change(recorded, ["score.metric=operator:sub"], trust=False)


def test_settings_without_code_are_given_to_nobody() -> None:
    assert code_settings(resolve("denoise", ["score.also=[task loss, random]"])) == []
