from dataclasses import asdict

import numpy as np

from orchestrator.fit.arrays import FitArrays


def test_arrays_come_back_as_they_were() -> None:
    output = np.ones((3, 4, 5), np.float32)
    arrays = FitArrays(output, 2 * output, np.arange(3, dtype=np.float32), np.zeros(0, np.float32))
    again = FitArrays.from_bytes(arrays.to_bytes())
    for name, array in asdict(arrays).items():
        assert getattr(again, name).tobytes() == array.tobytes()
