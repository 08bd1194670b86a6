"""The bank of fingerprints that images are scored by.

It is computed once per network width, channels and size, in parts of a few candidates, and stays in the store for all
later runs.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.arms.candidates import metrics_of
from orchestrator.errors import DamagedError, StoreUnavailableError
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import BankLayout
from orchestrator.settings import Config
from orchestrator.store import Store
from workers.fingerprints import (
    BankSpec,
    bank_metrics,
    compute_bank,
    native_size,
    square_size,
)
from workers.metrics import WITHOUT_OUTPUTS
from workers.space import Candidate


@dataclass(frozen=True)
class BankPart:
    """A piece of a bank: one scoring task's work and one object in the store."""

    spec: BankSpec
    candidates: tuple[str, ...]

    @property
    def key(self) -> str:
        """The key of the part in the store."""
        return BankLayout(self.spec).part(self.candidates)


def bank_of(config: Config, image: InputImage) -> BankSpec | None:
    """Return the bank that scores an image; None if no metric looks at networks."""
    looking = [metric for metric in metrics_of(config) if metric not in WITHOUT_OUTPUTS]
    if not looking:
        return None
    size_of = square_size if config.score.view == "square" else native_size
    operator = config.task.make().operator
    height, width = size_of(image.height, image.width, operator.scale)
    return BankSpec(
        height=height,
        width=width,
        channels=image.channels,
        input_channels=config.network.input_depth(image.channels),
        network_width=config.network.width,
        draws=config.score.draws,
        seed=config.score.seed,
        metrics=bank_metrics(looking),
        operator=operator.name,
        scale=operator.scale,
    )


def bank_parts(config: Config, spec: BankSpec, candidates: Sequence[Candidate]) -> list[BankPart]:
    """Divide these candidates into the parts of a bank, in order."""
    ids = [candidate.id for candidate in candidates]
    chunk = config.score.chunk
    return [BankPart(spec, tuple(ids[start : start + chunk])) for start in range(0, len(ids), chunk)]


def missing_parts(store: Store, config: Config, spec: BankSpec, candidates: Sequence[Candidate]) -> list[BankPart]:
    """Return the parts that the store does not hold yet."""
    present = set(store.keys(BankLayout(spec).root))
    return [part for part in bank_parts(config, spec, candidates) if part.key not in present]


def compute_part(store: Store, part: BankPart, config: Config, device: str) -> None:
    """Compute the fingerprints of a part's candidates and write them, uncompressed so that they can be
    memory-mapped."""
    file = io.BytesIO()
    candidates = [Candidate.parse(text) for text in part.candidates]
    np.save(file, compute_bank(candidates, part.spec, config.task.make().operator, device))
    layout = BankLayout(part.spec)
    store.put(layout.key, json.dumps(layout.description, indent=2).encode())
    store.put(part.key, file.getvalue())


def open_part(store: Store, part: BankPart) -> NDArray[np.void]:
    """Memory-map the fingerprints of a part.

    Raises:
        DamagedError: the object is no part of a bank.
        NotFoundError: the store does not hold it.
        StoreUnavailableError: the store was in trouble while it was read.
    """
    try:
        opened: NDArray[np.void] = np.load(store.local_path(part.key), mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        place = store.show(part.key)
        raise DamagedError(f"{place} is no part of a bank; delete it, and it is computed again") from None
    except OSError as error:
        # The store has just had it, so its file system is in trouble, or gone.
        raise StoreUnavailableError(f"cannot read {store.show(part.key)}: {error.strerror or error}") from error
    return opened
