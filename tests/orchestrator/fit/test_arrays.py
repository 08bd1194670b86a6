import io
import weakref
from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import pytest

from orchestrator.fit.arrays import FitArrays, packed

OUTPUT = np.ones((3, 4, 5), np.float32)
ARRAYS = FitArrays(OUTPUT, 2 * OUTPUT, np.arange(3, dtype=np.float32), np.zeros(0, np.float32))
REVEALED = replace(ARRAYS, revealed=3 * OUTPUT)


@pytest.mark.parametrize("arrays", [ARRAYS, REVEALED], ids=["hiding", "revealed"])
def test_arrays_come_back_as_they_were(arrays: FitArrays) -> None:
    again = FitArrays.from_bytes(arrays.to_bytes())
    for name, array in asdict(arrays).items():
        assert getattr(again, name).tobytes() == array.tobytes()


def test_the_file_is_that_of_numpy() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, **vars(REVEALED))
    assert REVEALED.to_bytes() == file.getvalue()


def test_one_array_after_the_other_is_made() -> None:
    made_so_far: list[weakref.ref[np.ndarray]] = []

    def made() -> Iterator[tuple[str, np.ndarray]]:
        for name in ("output", "steady"):
            assert not any(each() is not None for each in made_so_far)
            array = np.ones(3, np.float32)
            made_so_far.append(weakref.ref(array))
            yield name, array
            del array

    packed(made())


def test_some_arrays_are_read_alone() -> None:
    some = FitArrays.from_bytes(REVEALED.to_bytes(), ["revealed", "held_out"])
    assert some.revealed.tobytes() == REVEALED.revealed.tobytes()
    assert some.held_out.tobytes() == ARRAYS.held_out.tobytes()
    assert some.output.size == some.steady.size == 0


def test_what_has_seen_most_is_delivered() -> None:
    assert ARRAYS.delivered is ARRAYS.output
    assert REVEALED.delivered is REVEALED.revealed


def test_arrays_of_the_versions_before_have_none_that_saw_all_pixels() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, **{name: array for name, array in vars(ARRAYS).items() if name != "revealed"})
    assert FitArrays.from_bytes(file.getvalue()).delivered.tobytes() == OUTPUT.tobytes()
