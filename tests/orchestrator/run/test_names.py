from dataclasses import dataclass

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.run.names import Name
from workers.names import Chain, FitName, PriorName


@dataclass(frozen=True)
class Record:
    candidate: Name
    failed: dict[Name, str]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (PriorName("158-1111101111001110001100001"), "158-1111101111001110001100001"),
        (Chain("dip", "imp", 0, "f16-5fb2ac1e"), "dip.imp.0.f16-5fb2ac1e"),
        (Chain("dip", "imp", 0).round(5), "dip.imp.0.r05"),
    ],
)
def test_a_record_has_names_as_text_and_gives_them_back_as_names(name: FitName, text: str) -> None:
    adapter = TypeAdapter(Record)
    said = adapter.dump_json(Record(name, {name: "diverged"}))
    assert said == f'{{"candidate":"{text}","failed":{{"{text}":"diverged"}}}}'.encode()
    assert adapter.validate_json(said) == Record(name, {name: "diverged"})
    assert adapter.dump_python(Record(name, {})) == {"candidate": text, "failed": {}}


def test_what_is_no_text_names_nothing() -> None:
    with pytest.raises(ValidationError, match="candidate"):
        TypeAdapter(Record).validate_json(b'{"candidate": 3, "failed": {}}')
