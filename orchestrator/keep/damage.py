"""What is wrong with an object of a store, and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Wrong(StrEnum):
    """What is wrong: the content, that it is not there, that a newer version wrote it, or that nothing needs it."""

    DAMAGED = "damaged"
    MISSING = "missing"
    NEWER = "newer"
    LEFT_OVER = "left over"


class Remedy(StrEnum):
    """What becomes of it.

    RESUME: `resume` puts it right by itself. REMOVE: it is removed, and `resume` makes it again. DISCARD: it is
    removed, and nothing needs it. BY_HAND: a person must see to it.
    """

    RESUME = "resume"
    REMOVE = "remove"
    DISCARD = "discard"
    BY_HAND = "by hand"


@dataclass(frozen=True)
class Damage:
    """One object with something wrong, and what to do.

    Attributes:
        key: The object's key; for files that are no objects the prefix that they lie below.
        wrong: What is wrong.
        reason: The same in words.
        resume: What `resume` does about it, in words.
        remedy: What becomes of it.
        removes: The keys that a repair removes, in this order: what marks an image as finished goes last, so that a
            repair that is interrupted leaves a damage that is found again.
        run: The run it belongs to; None for what runs share.
    """

    key: str
    wrong: Wrong
    reason: str
    resume: str
    remedy: Remedy
    removes: Sequence[str] = ()
    run: str | None = None

    @property
    def is_repairable(self) -> bool:
        """Whether a repair, or `resume` itself, puts it right."""
        return self.remedy is not Remedy.BY_HAND

    def to_json(self) -> dict[str, Any]:
        """The damage for programs."""
        return {
            "run": self.run,
            "key": self.key,
            "wrong": str(self.wrong),
            "reason": self.reason,
            "resume": self.resume,
            "remedy": str(self.remedy),
            "removes": list(self.removes),
        }

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.wrong}: {self.key}: {self.reason}; {self.resume}"
