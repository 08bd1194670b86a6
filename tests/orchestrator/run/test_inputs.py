import hashlib
import json
from pathlib import Path

import pytest

from orchestrator.errors import DamagedError
from orchestrator.run.inputs import INPUTS, RULES, InputImage, Inputs, image_ids, read_input, write_inputs
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.store import LocalStore

LAYOUT = RunLayout("r")

IMAGE = InputImage("a.png", "a-1", "a.png", None, "a.png", 4, 5, 3)


def test_a_list_of_an_older_version_keeps_the_rules_by_which_its_files_were_read() -> None:
    value = json.loads(INPUTS.to_json(Inputs([IMAGE], [])))
    assert value["images"][0].pop("rules") == RULES
    for number in (None, 1):
        older = {key: each for key, each in value.items() if key != "format"} | ({"format": 1} if number else {})
        (image,) = INPUTS.from_json(json.dumps(older)).images
        assert image.rules == 0
    for number in (2, 3, 4, 5):
        value["images"][0]["rules"] = number - 1
        assert INPUTS.from_json(json.dumps(value | {"format": number})).images[0].rules == number - 1
    assert INPUTS.from_json(INPUTS.to_json(Inputs([IMAGE], []))).images[0].rules == RULES


def test_ids_are_those_of_the_list_in_its_order_and_none_before_it_is_there(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert image_ids(store, LAYOUT) == {}
    images = [InputImage(name, f"{name}-1", name, None, name, 8, 8, 1) for name in ("b", "a")]
    write_inputs(store, LAYOUT, Inputs(images, []))
    assert list(image_ids(store, LAYOUT).items()) == [("b", "b-1"), ("a", "a-1")]


def test_a_list_that_cannot_be_read_is_told_or_raised(tmp_path: Path) -> None:
    store, told = LocalStore(tmp_path), list[str]()
    store.put(LAYOUT.inputs, b"{")
    assert image_ids(store, LAYOUT, told.append) == {}
    assert ["inputs.json is damaged" in line for line in told] == [True]
    with pytest.raises(DamagedError):
        image_ids(store, LAYOUT)


@pytest.mark.parametrize("suffix", [".png", ""])
def test_an_input_is_compared_with_the_sha256_that_its_name_is(tmp_path: Path, suffix: str) -> None:
    store = LocalStore(tmp_path)
    file = f"{hashlib.sha256(b'pixels').hexdigest()}{suffix}"
    store.put(image_key(file), b"pixels")
    assert read_input(store, file) == b"pixels"
    # No checksum beside it contradicts this one: it was put there by somebody.
    store.put(image_key(file), b"pixelt")
    with pytest.raises(DamagedError, match="its content is not the one that its name says"):
        read_input(store, file)


def test_a_mask_is_named_by_the_file_that_it_was_made_from_and_is_not_compared(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    file = f"{hashlib.sha256(b'the user gave').hexdigest()}-white.png"
    store.put(image_key(file), b"made from it")
    assert read_input(store, file) == b"made from it"
