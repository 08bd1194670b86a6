"""Image-specific architecture search with deep image priors, distributed with Ray.

`submit`, `resume`, `study`, `evaluate`, `runs`, `prune_store`, `import_run` and `Run` are the Python interface
(`orchestrator.api`). They are imported when they are first used: importing this package imports nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.version import __version__

if TYPE_CHECKING:
    from orchestrator.api import Run, evaluate, import_run, prune_store, resume, runs, study, submit

__all__ = ["Run", "__version__", "evaluate", "import_run", "prune_store", "resume", "runs", "study", "submit"]


def __getattr__(name: str) -> Any:
    """Import a name of the Python interface (PEP 562)."""
    if name in __all__:
        return getattr(import_module("orchestrator.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
