"""What an object of a run is, read from its key: the way back from `orchestrator.run.layout`."""

import re
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.run.layout import RunLayout


class Kind(StrEnum):
    """The kinds of objects of a run. OTHER are objects that this version does not know."""

    RECORD = "the record of the run"
    CONFIG = "the settings"
    INPUTS = "the list of inputs"
    HOLDER = "the holder of a claim"
    STATE = "the state of a claim"
    STOP = "the request to stop"
    LOG = "a log"
    GENERATOR = "the file of a generator"
    SCORES = "the scores of an image"
    FIT = "the record of a fit"
    PAUSE = "the record of a paused fit"
    STEP = "the way of a fit's steps"
    ARRAYS = "the outputs of a fit"
    CHECKPOINT = "a checkpoint"
    RUNG = "the decision at a rung"
    TILING = "the tiles of an image"
    PICK = "the decision of an arm"
    COHORT = "the packed record of an image"
    TICKET = "a ticket"
    START = "the weights that rounds begin from"
    RESTORED = "a restored file"
    PREVIEW = "a picture of the report"
    ROWS = "the rows"
    RETRIED = "the rows of an earlier try"
    CLEANUP = "the mark of a cleaning"
    TABLE = "a table of results"
    REPORT = "a page of the report"
    STUDY = "a file of the study"
    OTHER = "an object"


@dataclass(frozen=True)
class Place:
    """Where an object of a run lies.

    Attributes:
        kind: What it is.
        image: The id of the image that it belongs to; None if to none, or to all.
        arm: The arm that it belongs to.
        view: The view of the fit that it belongs to.
        fit: The name of that fit.
        name: Of a restored file its relative name.
    """

    kind: Kind
    image: str | None = None
    arm: str | None = None
    view: str | None = None
    fit: str | None = None
    name: str | None = None


_IMAGE, _ARM = "(?P<image>[^/]+)", "(?P<arm>[^/]+)"
_FIT = f"fits/{_IMAGE}/(?P<view>[^/]+)/(?P<fit>[^/]+)/"
_PATTERNS = tuple(
    (kind, re.compile(pattern, re.DOTALL))
    for kind, pattern in (
        (Kind.RECORD, r"run\.json"),
        (Kind.CONFIG, r"config\.yaml"),
        (Kind.INPUTS, r"inputs\.json"),
        (Kind.HOLDER, r"claims/[^/]+/holder\.json"),
        (Kind.STATE, r"claims/[^/]+/state\.json"),
        (Kind.STOP, r"claims/[^/]+/cancel\.json"),
        (Kind.LOG, r"claims/[^/]+/log\.txt"),
        (Kind.GENERATOR, r"generators/[^/]+"),
        (Kind.SCORES, rf"scores/{_IMAGE}\.parquet"),
        (Kind.FIT, rf"{_FIT}result\.json"),
        (Kind.PAUSE, rf"{_FIT}rung-\d+\.json"),
        (Kind.STEP, rf"{_FIT}step\.json"),
        (Kind.ARRAYS, rf"{_FIT}arrays-[^/]*\.npz"),
        (Kind.CHECKPOINT, rf"{_FIT}(checkpoint|reveal|finding-\d+)\.pt"),
        (Kind.OTHER, rf"{_FIT}[^/]+"),
        (Kind.RUNG, rf"rungs/{_IMAGE}/{_ARM}-\d+\.json"),
        (Kind.TILING, rf"tilings/{_IMAGE}\.json"),
        (Kind.PICK, rf"picks/{_IMAGE}/{_ARM}\.json"),
        (Kind.COHORT, rf"cohorts/{_IMAGE}\.parquet"),
        # Tickets lie by the slug of what they were found on, which is no image's id.
        (Kind.START, r"tickets/[^/]+/[^/]+\.start\.pt"),
        (Kind.TICKET, r"tickets/[^/]+/[^/]+\.ticket"),
        (Kind.RESTORED, rf"restored/{_ARM}/[^/]+/(?P<name>.+)"),
        (Kind.PREVIEW, rf"previews/{_IMAGE}/.+"),
        (Kind.ROWS, rf"rows/{_IMAGE}\.json"),
        (Kind.RETRIED, rf"retried/{_IMAGE}/[^/]+\.json"),
        (Kind.CLEANUP, rf"cleanups/{_IMAGE}"),
        (Kind.TABLE, r"results\.(csv|parquet)|comparison\.csv|lottery/.+"),
        (Kind.REPORT, r"report/.+"),
        (Kind.STUDY, r"study/.+"),
    )
)


def place_of(layout: RunLayout, key: str) -> Place:
    """What the object at a key below a run's prefix is."""
    rest = key.removeprefix(f"{layout.root}/")
    for kind, pattern in _PATTERNS:
        if found := pattern.fullmatch(rest):
            return Place(kind, **found.groupdict())
    return Place(Kind.OTHER)
