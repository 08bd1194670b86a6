"""The runs of the simulated world: settings of every kind, and images, some of which are poison.

A poison image spoils its own rows and nothing else, in the same way in every history.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from orchestrator.arms.lottery import chains_of, rounds_of
from orchestrator.arms.resolve import arms_of
from orchestrator.ingest.folder import Upload
from orchestrator.run.inputs import InputImage, Rejected, Source
from orchestrator.settings import Config
from tests.orchestrator.schedule.world import arm, settings

POISONS = {
    "undecodable": "cannot be decoded",
    "diverging": "the fit diverged",
    "fatal": "its worker process died",
    "deadly": "its machine was lost",
    "changed": "the file has changed since it was first looked at",
}
"""Kinds of poison, and what the rows say: the file cannot be decoded; no fit of it converges; every trial of it dies;
whoever collects it dies; it was changed after it was looked at."""
FOUND = "found"
"""Another run, whose tickets some runs take."""
SOURCE = Source("images")
REJECTED = Rejected("notes.txt", "no image")
_SIZES: dict[str, Any] = {
    "cohort": {"first_rung": 10, "iterations": 20},
    "fit": {"iterations": 30, "block": 10, "checkpoint_s": 3},
    "score": {"candidates": 4, "chunk": 2},
    "lottery": {"rounds": 2, "initialisations": 1},
}


def _run(*arms: str | dict[str, Any], **more: Any) -> Config:
    return settings(*arms, **{name: {**_SIZES.get(name, {}), **more.get(name, {})} for name in {*_SIZES, *more}})


def _halved(name: str, **more: Any) -> dict[str, Any]:
    return arm(name, halving="synchronous", full_fits=1, **more)


_LONG = {"iterations": 30}
RUNS: tuple[Config, ...] = (
    _run(arm("one", "dip", "dip-inpaint", full_fits=1)),
    _run(arm("one", "dip", "dip-inpaint", full_fits=2), arm("two", "dip", full_fits=1)),
    _run(_halved("halved"), cohort=_LONG),
    _run(arm("one", "dip", "dip-inpaint", view="full")),
    _run({"name": "ours", "size": 2, "full_fits": 2}, {"name": "by-chance", "like": "random", "size": 2}),
    _run(_halved("halved"), arm("whole", "dip", "dip-inpaint", full_fits=2), cohort=_LONG),
    _run(arm("asha", halving="asha", full_fits=1), cohort=_LONG),
    _run(arm("asha", halving="asha", full_fits=1), arm("whole", "dip", full_fits=1), _halved("halved"), cohort=_LONG),
    _run("lottery-imp", arm("one", "dip", full_fits=1), lottery={"rewind": 10}),
    _run(
        arm("one", "dip", "dip-inpaint", full_fits=1), "lottery-snip", "lottery-decoder", lottery={"network": "picked"}
    ),
    _run("lottery-oes", "lottery-random", lottery={"together": True}),
    _run("lottery-imp", lottery={"together": True, "rounds": 2, "fit_rounds": [2]}),
    _run(
        {"name": "moved", "like": "lottery-imp", "source": "image9-00000009"},
        lottery={"tickets": FOUND, "network": "dip"},
    ),
)


def repeats(config: Config) -> bool:
    """Whether a run comes to the same results in whatever order its work is done: not where Tune's ASHA decides."""
    return not any(arm.asynchronous for arm in arms_of(config))


@dataclass(frozen=True)
class File:
    """A file of the folder that the images come from."""

    content: bytes

    def read_bytes(self) -> bytes:
        """As `pathlib.Path` has it."""
        return self.content


def content_of(image: InputImage) -> bytes:
    """What an image's file holds."""
    return f"pixels of {image.name}".encode()


@cache
def upload(name: str) -> Upload:
    """An image by name, such as ``image1`` or ``image3-fatal``, and its file."""
    content = f"pixels of {name}.png".encode()
    digest = hashlib.sha256(content).hexdigest()
    image = InputImage(
        f"{name}.png", f"{name}-{digest[:8]}", f"{digest}.png", None, f"{name}.png", height=96, width=96, channels=3
    )
    file: Any = File(content if "changed" not in name else b"something else")
    return Upload(image, file, None)


@cache
def poison_of(image: InputImage) -> str | None:
    """What is wrong with an image."""
    return next((poison for poison in POISONS if poison in image.name), None)


def tickets_needed(config: Config) -> list[tuple[str, Any]]:
    """The tickets of another run that a run needs: their source, and the name of the round that each was found as."""
    needed = []
    for each in arms_of(config):
        if each.source is not None and config.lottery.tickets is not None:
            for chain in chains_of(config, each, "dip"):
                needed += [(each.source, chain, number) for number in rounds_of(config, chain)]
    return needed


def digest_of(text: str) -> int:
    """A number that depends on nothing but the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())
