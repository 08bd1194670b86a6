"""A Ray cluster that others have started: joined from one of its machines."""

import contextlib
import logging
import os
from collections.abc import Iterator

# This module is imported on machines of a cluster. Their processes talk to each other, so they listen on more than
# loopback,
# unlike a Ray of our own (`orchestrator.drive.local_ray`). Ray reads this once, when it is imported.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
from ray.exceptions import RayError

from orchestrator.drive.local_ray import OurPlaces, uninterrupted
from orchestrator.errors import UserMistakeError
from orchestrator.resources.share import Resources, resolve_resources
from orchestrator.schedule.machines import gpus_may_come, machines_there, with_gpu_memory
from orchestrator.settings import Config


@contextlib.contextmanager
def joined_ray(address: str) -> Iterator[None]:
    """Join the cluster at this address as a driver until the block ends; ``auto`` is the cluster of this machine.

    Raises:
        UserMistakeError: there is no cluster, it runs another Ray or Python, or it refuses our token.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(
            address=address,
            job_config=OurPlaces(),
            configure_logging=True,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError, RayError, ValueError) as error:
        reason = " ".join(str(error).split())[:400]
        raise UserMistakeError(f"--address {address}: no Ray cluster can be joined from here: {reason}") from None
    try:
        yield
    finally:
        with uninterrupted():
            ray.shutdown()


def resolve_on_cluster(config: Config) -> Resources:
    """Resolve the settings to resources on the machines of the joined cluster.

    If the settings ask for GPUs, the run trusts that machines with GPUs will join; `status` shows what it waits for.
    """
    may_come = bool(config.resources.gpus) or gpus_may_come()
    return resolve_resources(config, with_gpu_memory(machines_there()), gpus_may_come=may_come)
