"""The command line with a driver that joins a Ray cluster of the caller's: ``python -m tests.system.on_cluster ADDRESS submit ...``."""

import contextlib
import functools
import logging
import sys
from collections.abc import Iterator

from orchestrator import driver
from orchestrator.resources import Resources

import ray  # isort: skip - what it reads from the environment, the driver's modules have set


def main(address: str, arguments: list[str]) -> int:
    """Run a command; returns its exit status."""

    @contextlib.contextmanager
    def joined(resources: Resources, *, dashboard: bool) -> Iterator[None]:
        ray.init(address=address, configure_logging=True, logging_level=logging.ERROR, log_to_driver=False)
        try:
            yield
        finally:
            ray.shutdown()

    driver.execute = functools.partial(driver.execute, ray_session=joined)  # type: ignore[assignment]
    from orchestrator import cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
