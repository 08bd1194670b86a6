import io
from dataclasses import asdict, replace

import numpy as np
import pytest

from orchestrator.fit.arrays import FitArrays

OUTPUT = np.ones((3, 4, 5), np.float32)
ARRAYS = FitArrays(OUTPUT, 2 * OUTPUT, np.arange(3, dtype=np.float32), np.zeros(0, np.float32))
REVEALED = replace(ARRAYS, revealed=3 * OUTPUT)


@pytest.mark.parametrize("arrays", [ARRAYS, REVEALED], ids=["hiding", "revealed"])
def test_arrays_come_back_as_they_were(arrays: FitArrays) -> None:
    again = FitArrays.from_bytes(arrays.to_bytes())
    for name, array in asdict(arrays).items():
        assert getattr(again, name).tobytes() == array.tobytes()


def test_what_has_seen_most_is_delivered() -> None:
    assert ARRAYS.delivered is ARRAYS.output
    assert REVEALED.delivered is REVEALED.revealed


def test_arrays_of_the_versions_before_have_none_that_saw_all_pixels() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, **{name: array for name, array in vars(ARRAYS).items() if name != "revealed"})
    assert FitArrays.from_bytes(file.getvalue()).delivered.tobytes() == OUTPUT.tobytes()
