"""The outputs and curves of a fit, as one object in the store."""

import io
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from orchestrator.fit.record import FitRecord
from orchestrator.run.layout import FitLayout
from orchestrator.store import Store


@dataclass(frozen=True)
class FitArrays:
    """Outputs (C, H, W) of a fit at its view's size, and its curves.

    ``output`` is where the fit was stopped, ``steady`` where its outputs varied least. ``psnr`` is empty without a
    reference. ``revealed`` is the output after the iterations with all pixels (`workers.reveal`), and empty where there
    were none.
    """

    output: NDArray[np.float32]
    steady: NDArray[np.float32]
    held_out: NDArray[np.float32]
    psnr: NDArray[np.float32]
    revealed: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def delivered(self) -> NDArray[np.float32]:
        """The output that has seen most: with all pixels where there is one, else where the fit was stopped."""
        return self.revealed if self.revealed.size else self.output

    def to_bytes(self) -> bytes:
        """Return the arrays as a compressed npz file."""
        file = io.BytesIO()
        np.savez_compressed(file, **vars(self))
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "FitArrays":
        """Read the arrays back; only arrays are accepted, no pickles."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            # Arrays of the versions before have none that is revealed.
            return cls(**{each.name: arrays[each.name] for each in fields(cls) if each.name in arrays})


def read_arrays(store: Store, keys: FitLayout, record: FitRecord) -> FitArrays:
    """Read the outputs and curves of a fit that is done."""
    return FitArrays.from_bytes(store.get(keys.arrays(str(record.arrays))))
