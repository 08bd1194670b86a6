"""The outputs and curves of a fit, as one object in the store."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.fit.record import FitRecord
from orchestrator.run.layout import FitLayout
from orchestrator.store import Store


@dataclass(frozen=True)
class FitArrays:
    """Outputs (C, H, W) of a fit at its view's size, and its curves.

    ``output`` is where the fit was stopped, ``steady`` where its outputs varied least; ``psnr`` is empty without a
    reference.
    """

    output: NDArray[np.float32]
    steady: NDArray[np.float32]
    held_out: NDArray[np.float32]
    psnr: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """Return the arrays as a compressed npz file."""
        file = io.BytesIO()
        np.savez_compressed(file, output=self.output, steady=self.steady, held_out=self.held_out, psnr=self.psnr)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "FitArrays":
        """Read the arrays back; only arrays are accepted, no pickles."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(arrays["output"], arrays["steady"], arrays["held_out"], arrays["psnr"])


def read_arrays(store: Store, keys: FitLayout, record: FitRecord) -> FitArrays:
    """Read the outputs and curves of a fit that is done."""
    return FitArrays.from_bytes(store.get(keys.arrays(str(record.arrays))))
