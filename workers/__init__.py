"""Deep image priors as a library of tensors: search space, networks, spectra, fitting, blind stopping.

`restore` restores an image with one network (`workers.restoration`). Nothing here knows Ray, a store or a command line:
every function works in a notebook with one CPU or GPU.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.restoration import Restoration, restore

__all__ = ["Restoration", "restore"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used (PEP 562): it needs torch, and much of this package does not."""
    if name in __all__:
        return getattr(import_module("workers.restoration"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
