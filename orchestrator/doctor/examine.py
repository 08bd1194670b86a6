"""Check that all that a run needs is here, and advise what to do if something is missing.

The store has to keep small objects for a moment. Nothing else is changed, and no answer holds a secret.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import starmap

from orchestrator.doctor.check import Check, answers
from orchestrator.doctor.cluster import check_cluster
from orchestrator.doctor.machine import (
    check_disk,
    check_environment,
    check_python,
    check_ray,
    check_ray_place,
    check_this_machine,
    check_token,
    check_torch,
    folders_of,
    installed_version,
    nvidia_gpus,
    torch_here,
)
from orchestrator.doctor.store import check_objects
from orchestrator.store import open_store

_PATIENCE_S = 2.0


def examine(place: str, address: str | None = None) -> Iterator[Check]:
    """Yield all answers, each as soon as it is there.

    Args:
        place: The place of the store.
        address: The address of a Ray cluster's dashboard, to check that cluster too.
    """
    questions: dict[str, Callable[[], Iterable[Check]]] = {
        "python": lambda: [check_python(sys.version_info[:3])],
        "ray": lambda: [check_ray(installed_version("ray")), check_ray_place()],
        "token": lambda: [check_token()],
        "environment": lambda: [check_environment(os.environ)],
        "torch": lambda: check_torch(torch_here(), nvidia_gpus()),
        "machine": check_this_machine,
        "disk": lambda: starmap(check_disk, folders_of(place)),
        "store": lambda: check_objects(open_store(place, patience_s=_PATIENCE_S)),
    }
    if address is not None:
        questions["cluster"] = partial(check_cluster, address)
    for name, question in questions.items():
        yield from answers(name, question)
