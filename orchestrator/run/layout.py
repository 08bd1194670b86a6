"""Every key in the store, in one place.

fingerprints/<bank>/key.json, part-<hash>.npy       shared by all runs
images/<hh>/<sha256><suffix>                        images, references and masks by their content, shared by all runs
runs/<run>/run.json, config.yaml, inputs.json       the definition of a run; never changed
          /claims/<number>/holder.json, state.json, log.txt    the driver, the state of the run, and the log
          /scores/<image id>.parquet                candidate, a column for each metric
          /fits/<image id>/<view>[-<tile>]/<candidate>/step.json, checkpoint.pt, reveal.pt, rung-<n>.json
                                           | result.json, arrays-<hash>.npz
          /generators/<name>                        the file of a trained generator
          /tilings/<image id>.json, /rungs/<image id>/<arm>-<iterations>.json    its tiles; who went on from a rung
          /picks/<image id>/<arm>.json              the decision and its reasons
          /cohorts/<image id>.parquet               the packed record of all its fits
          /tickets/<source>/<round>.ticket          lottery tickets: masks, by where they were found; <chain>.start.pt
          /restored/<arm>/<best|pick|mean|stack|spread>/<name> restored images; where fits disagree
          /previews/<image id>/[<arm>/]<what>.png   small pictures for the report
          /rows/<image id>.json, /retried/<image id>/<number>.json    its rows, which mark it as finished; earlier ones
          /cleanups/<image id>                      while a finished image's fits are deleted
          /results.csv, results.parquet, comparison.csv, report/index.html, report/results-<number>.html
          /study/table.parquet, table.csv, study.json, index.html; lottery/sparsity.csv, transfer.csv
store.json; probes/<random>                         what makes the store this very one; while a store is tried
upkeep/claims/<number>/holder.json, state.json      who deletes what runs share, or brings a run in from outside
"""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from workers.fingerprints import BankSpec
from workers.names import FitName, Round

RUNS = "runs"
IMAGES = "images"
RECORD = "run.json"
CLAIMS = "claims"
REPORT = "index.html"
BANKS = "fingerprints"
PROBES = "probes"  # what is written to see whether a store can do what a run needs, and is deleted at once
SHARED = (IMAGES, BANKS)
"""The prefixes of what all runs share."""
TOGETHER = "all-images"
"""The source of tickets that were found on all images of a run together."""
Preview = Literal["degraded", "restored", "mean", "stack", "spread", "reference", "classical"]
Restored = Literal["best", "pick", "mean", "stack", "spread"]


def safe_stem(name: str) -> str:
    """A file's stem as ASCII letters, digits, dots and dashes, at most 40 characters; for ids, never for paths."""
    stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:40] or "image"


def image_id(name: str, content_sha256: str) -> str:
    """The id of an image: a readable stem and the first 8 hex digits of its content's SHA-256."""
    return f"{safe_stem(name)}-{content_sha256[:8]}"


def word_of(text: str) -> str:
    """A text reduced to lower-case letters, digits, and dashes between them."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def slug(image: str) -> str:
    """A unique lower-case slug of an image id; a slug maps to itself."""
    word = word_of(image)
    return word if word == image else f"{word}-{hashlib.sha256(image.encode()).hexdigest()[:6]}"


def start_key(ticket: str) -> str:
    """The key next to a ticket for the weights, other than the initial ones, that its chain's rounds begin from."""
    return f"{ticket.rsplit('.r', 1)[0]}.start.pt"


def probe_key() -> str:
    """An unused key for an object by which a store is tried."""
    return f"{PROBES}/{uuid.uuid4().hex}"


def image_key(file: str) -> str:
    """An image, a clean reference (which only the evaluation reads) or a mask (a 1-bit PNG, white where known)."""
    return f"{IMAGES}/{file[:2]}/{file}"


def bank_root(description: Mapping[str, object]) -> str:
    """The prefix of the bank that depends on this, and on nothing else."""
    text = json.dumps(description, sort_keys=True)
    return f"{BANKS}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class BankLayout:
    """The keys of one bank of fingerprints."""

    spec: "BankSpec"

    @property
    def description(self) -> dict[str, object]:
        """Everything that the bank depends on."""
        return {"space": "isnas-dip", **asdict(self.spec)}

    @property
    def root(self) -> str:
        """The bank's prefix: a hash of its description."""
        return bank_root(self.description)

    @property
    def key(self) -> str:
        """The description itself."""
        return f"{self.root}/key.json"

    def part(self, candidate_ids: Sequence[str]) -> str:
        """The fingerprints of these candidates, in this order."""
        digest = hashlib.sha256("\n".join(candidate_ids).encode()).hexdigest()[:16]
        return f"{self.root}/part-{digest}.npy"


@dataclass(frozen=True)
class FitLayout:
    """The keys of one fit."""

    root: str

    @property
    def result(self) -> str:
        """The record of the finished fit. It is written last, and once."""
        return f"{self.root}/result.json"

    def arrays(self, digest: str) -> str:
        """Outputs and curves, by their content, so that two attempts at one fit cannot change each other's arrays."""
        return f"{self.root}/arrays-{digest}.npz"

    def rung(self, iterations: int) -> str:
        """The record of the fit when it paused after ``iterations``."""
        return f"{self.root}/rung-{iterations}.json"

    @property
    def step(self) -> str:
        """The way in which all attempts at the fit compute their steps."""
        return f"{self.root}/step.json"

    @property
    def checkpoint(self) -> str:
        """The state of an unfinished fit."""
        return f"{self.root}/checkpoint.pt"

    @property
    def reveal(self) -> str:
        """The state of a fit that goes on with all pixels."""
        return f"{self.root}/reveal.pt"

    def finding(self, number: int) -> str:
        """The state of an unfinished search for the masks of a round, or of all rounds (0)."""
        return f"{self.root}/finding-{number:02}.pt"


@dataclass(frozen=True)
class ClaimLayout:
    """The keys of one claim on a run."""

    root: str

    @property
    def holder(self) -> str:
        """The holder; created once."""
        return f"{self.root}/holder.json"

    @property
    def state(self) -> str:
        """The state of the run, as the holder reports it."""
        return f"{self.root}/state.json"

    @property
    def log(self) -> str:
        """The holder's log."""
        return f"{self.root}/log.txt"

    @property
    def cancel(self) -> str:
        """The request of others that the holder stop."""
        return f"{self.root}/cancel.json"


@dataclass(frozen=True)
class RunLayout:
    """The keys of one run."""

    run: str

    @property
    def root(self) -> str:
        """The run's prefix."""
        return f"{RUNS}/{self.run}"

    @property
    def record(self) -> str:
        """The record of the run."""
        return f"{self.root}/{RECORD}"

    @property
    def config(self) -> str:
        """The resolved settings as YAML: they can be given to another run."""
        return f"{self.root}/config.yaml"

    @property
    def inputs(self) -> str:
        """The list of the run's inputs."""
        return f"{self.root}/inputs.json"

    @property
    def reservation(self) -> str:
        """Keeps a new run from beginning where one is being imported."""
        return f"{self.root}/import"

    @property
    def claims(self) -> str:
        """The prefix of all claims."""
        return f"{self.root}/claims"

    def claim(self, number: int) -> ClaimLayout:
        """The claim of a number."""
        return ClaimLayout(f"{self.claims}/{number:06}")

    def generator(self, name: str) -> str:
        """The file of a trained generator."""
        return f"{self.root}/generators/{name}"

    def scores(self, image: str) -> str:
        """The scores of all candidates for an image."""
        return f"{self.root}/scores/{image}.parquet"

    def fits(self, image: str) -> str:
        """All fits of an image."""
        return f"{self.root}/fits/{image}"

    def retried(self, image: str) -> str:
        """The rows of all earlier tries of an image."""
        return f"{self.root}/retried/{image}"

    @property
    def cleanups(self) -> str:
        """The prefix of the marks of images whose fits are being deleted."""
        return f"{self.root}/cleanups"

    def cleanup(self, image: str) -> str:
        """The mark that an image has its rows, or is about to, and that fits which it no longer needs may be left."""
        return f"{self.cleanups}/{image}"

    def fit(self, image: str, view: str, name: FitName) -> FitLayout:
        """One fit."""
        return FitLayout(f"{self.fits(image)}/{view}/{name}")

    @property
    def all_tickets(self) -> str:
        """The prefix of all tickets."""
        return f"{self.root}/tickets"

    def ticket(self, source: str, name: Round) -> str:
        """The ticket of a round, found on the image of this id, or on all of them."""
        return f"{self.all_tickets}/{slug(source)}/{name}.ticket"

    def tiling(self, image: str) -> str:
        """The tiles of an image that is too large for one fit."""
        return f"{self.root}/tilings/{image}.json"

    def rungs(self, image: str) -> str:
        """All decisions at rungs of an image."""
        return f"{self.root}/rungs/{image}"

    def rung(self, image: str, arm: str, iterations: int) -> str:
        """The members of a cohort that went on from a rung."""
        return f"{self.rungs(image)}/{arm}-{iterations}.json"

    def picks(self, image: str) -> str:
        """All decisions over an image's cohorts."""
        return f"{self.root}/picks/{image}"

    def pick(self, image: str, arm: str) -> str:
        """The decision over an image's cohort."""
        return f"{self.picks(image)}/{arm}.json"

    def cohort(self, image: str) -> str:
        """The packed record of an image's fits."""
        return f"{self.root}/cohorts/{image}.parquet"

    def restored(self, arm: str, which: Restored, name: str) -> str:
        """A restored image."""
        return f"{self.root}/restored/{arm}/{which}/{name}"

    def preview(self, image: str, what: Preview, arm: str | None = None) -> str:
        """A small picture for the report; pictures that arms share name no arm."""
        return (
            f"{self.root}/previews/{image}/{what}.png"
            if arm is None
            else f"{self.root}/previews/{image}/{arm}/{what}.png"
        )

    def round_preview(self, image: str, arm: str, number: int) -> str:
        """A small picture of the image that a lottery's round gave."""
        return f"{self.root}/previews/{image}/{arm}/round-{number:02}.png"

    @property
    def rows(self) -> str:
        """The prefix of all rows."""
        return f"{self.root}/rows"

    def row(self, image: str) -> str:
        """An image's rows of the results."""
        return f"{self.rows}/{image}.json"

    def rejected_row(self, number: int) -> str:
        """The rows of a file that is no image of the run, by its number on the list of inputs."""
        return self.row(f"rejected-{number:06}")

    def results(self, suffix: Literal["csv", "parquet"]) -> str:
        """The table of all rows."""
        return f"{self.root}/results.{suffix}"

    @property
    def comparison(self) -> str:
        """How the arms differ, pair by pair."""
        return f"{self.root}/comparison.csv"

    def study(self, file: str) -> str:
        """A study's table, figures and page."""
        return f"{self.root}/study/{file}"

    def lottery(self, file: str) -> str:
        """The figures of lottery tickets."""
        return f"{self.root}/lottery/{file}"

    @property
    def report(self) -> str:
        """The report page."""
        return f"{self.all_reports}/{REPORT}"

    @property
    def all_reports(self) -> str:
        """The prefix of the report page and of its pages of results."""
        return f"{self.root}/report"

    def report_file(self, name: str) -> str:
        """A page of results beside the report page."""
        return f"{self.all_reports}/{name}"
