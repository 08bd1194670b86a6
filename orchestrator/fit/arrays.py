"""The outputs and curves of a fit, as one object in the store."""

import io
import zipfile
from collections.abc import Collection, Iterable
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
        return packed(vars(self).items())

    @classmethod
    def from_bytes(cls, data: bytes, only: Collection[str] = ()) -> "FitArrays":
        """Read the arrays back, or ``only`` those of these names: the others are empty then. Only arrays are accepted,
        no pickles."""
        nothing = np.zeros(0, np.float32)
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            # Arrays of the versions before have none that is revealed.
            there = [each.name for each in fields(cls) if each.name in arrays]
            return cls(**{name: arrays[name] if not only or name in only else nothing for name in there})


def packed(arrays: Iterable[tuple[str, NDArray[np.float32]]]) -> bytes:
    """Named arrays as a compressed npz file, as `numpy.savez_compressed` writes it.

    They may be made one by one: each is asked for when the one before is written.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
            del array  # else it would be there while the next is made
    return file.getvalue()


def read_arrays(store: Store, keys: FitLayout, record: FitRecord, only: Collection[str] = ()) -> FitArrays:
    """Read the outputs and curves of a fit that is done, or ``only`` those of these names."""
    return FitArrays.from_bytes(store.get(keys.arrays(str(record.arrays))), only)
