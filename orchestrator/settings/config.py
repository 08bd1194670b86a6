"""The settings of a run: what may be set, in which units and ranges, read from YAML files and ``--set a.b=value``.

Every mistake is reported at once, and an unknown key with the nearest name that exists. The resolved settings are stored
with the run.
"""

import difflib
import math
import os
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from orchestrator.errors import ConfigError
from orchestrator.text import printable
from workers.space import Candidate, InvalidCandidateError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT = "quickstart"


class Section(BaseModel):
    """A group of settings: immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _existing_candidate(value: object) -> object:
    try:
        return Candidate.parse(value).id if isinstance(value, str) else value
    except InvalidCandidateError as error:
        raise ValueError(str(error)) from None


CandidateId = Annotated[str, BeforeValidator(_existing_candidate)]


def _existing_prior(value: object) -> object:
    # Imported here: priors are torch modules, and most settings name none.
    from workers.networks.priors import prior_of  # noqa: PLC0415

    try:
        return prior_of(value).id if isinstance(value, str) else value
    except InvalidCandidateError as error:
        raise ValueError(str(error)) from None


def _width_multiple(prior: str) -> int:
    from workers.networks.priors import prior_of  # noqa: PLC0415

    return prior_of(prior).width_multiple


PriorId = Annotated[str, BeforeValidator(_existing_prior)]
GreyLevels = Annotated[float, Field(ge=0, le=255)]
TaskName = Literal["denoise", "inpaint", "super-resolve", "deblur", "jpeg"]


_KERNELS = {"gaussian": ((0, 100),), "motion": ((1, 300), (-math.inf, math.inf))}
"""Kernels by name, and between which bounds the numbers that follow it must be; more pixels than that blur all away."""


def _named_kernel(value: str) -> tuple[str, list[float]] | None:
    """A kernel's name and its numbers; None if it is none."""
    name, *words = value.split() or [""]
    bounds = _KERNELS.get(name, ())
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    fit = len(numbers) == len(bounds) > 0 and all(map(math.isfinite, numbers)) and numbers[0] > 0
    within = fit and all(low <= number <= high for number, (low, high) in zip(numbers, bounds, strict=True))
    return (name, numbers) if within else None


def _read_kernel(value: object) -> object:
    """A kernel by name as it is, a file's as rows of numbers, so that the settings of a run hold all of it."""
    if not isinstance(value, str) or _named_kernel(value) is not None:
        return value
    if value.split()[:1] and value.split()[0] in _KERNELS:
        raise ValueError(
            f"{value!r} is no kernel; write 'gaussian SIGMA' (up to 100 pixels) or 'motion LENGTH DEGREES' (1 to 300 pixels)"
        )
    path = Path(value)
    try:
        if os.path.exists(path) and not path.is_file():  # noqa: PTH110 - pathlib raises for a name that is too long
            raise ValueError("it is no regular file")
        if path.suffix == ".npy":
            import numpy as np  # noqa: PLC0415 - --help needs none

            return np.load(path, allow_pickle=False).astype(float).tolist()
        lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
        return [[float(word) for word in line.split()] for line in lines if line.strip()]
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise ValueError(f"{value!r} is neither a kernel's name nor a file of numbers ({error})") from None


def kernel_of(kernel: str | list[list[float]]) -> "NDArray[np.float64]":
    """The weights (rows, columns) of a kernel as the settings have it.

    Raises:
        ValueError: its rows are not equally long.
    """
    # Imported here: operators are made of torch, and few settings name a kernel.
    import numpy as np  # noqa: PLC0415

    from workers.operators import gaussian_kernel, motion_kernel  # noqa: PLC0415

    if not isinstance(kernel, str):
        if len({len(row) for row in kernel}) != 1:
            raise ValueError("a kernel has rows of equal length")
        return np.array(kernel, dtype=np.float64)
    named = _named_kernel(kernel)
    assert named is not None  # noqa: S101 - the settings hold no other text
    name, numbers = named
    return gaussian_kernel(numbers[0]) if name == "gaussian" else motion_kernel(round(numbers[0]), numbers[1])


def _usable_kernel(kernel: str | list[list[float]]) -> str | list[list[float]]:
    from workers.operators import Blur  # noqa: PLC0415

    Blur(kernel_of(kernel))
    return kernel


class Task(Section):
    """What degraded the images."""

    name: TaskName = Field("denoise", description="what the images suffer from")
    noise: Literal["gaussian", "poisson"] = Field(
        "gaussian", description="denoise: the kind of noise that --simulate adds; a fit never uses it"
    )
    sigma: GreyLevels | tuple[GreyLevels, GreyLevels] | None = Field(
        None,
        description="denoise, deblur: Gaussian noise that --simulate adds, in 8-bit grey levels; [low, high] draws a level"
        " for each image; null: 25 (denoise) or 0 (deblur)",
    )
    peak: float = Field(30, gt=0, description="denoise: photons in a white pixel where --simulate adds Poisson noise")
    missing: float = Field(0.5, ge=0, lt=1, description="inpaint: share of the pixels that --simulate takes away")
    keep_known: bool = Field(
        True, description="inpaint: pixels that --masks knows come back as they were; false: as the network has them"
    )
    factor: Literal[2, 3, 4, 8] = Field(4, description="super-resolve: how many times larger the restored image is")
    downsampling: Literal["lanczos2", "box", "bicubic"] = Field(
        "lanczos2", description="super-resolve: how the low-resolution image came about"
    )
    kernel: Annotated[str | list[list[float]], BeforeValidator(_read_kernel), AfterValidator(_usable_kernel)] = Field(
        "gaussian 1.6",
        description="deblur: the blur's kernel: 'gaussian SIGMA' or 'motion LENGTH DEGREES' in pixels, rows of numbers, or a"
        " .npy or text file of them",
    )
    quality: int = Field(10, ge=1, le=95, description="jpeg: the quality at which --simulate compresses")

    @model_validator(mode="after")
    def _levels_in_order(self) -> typing.Self:
        if isinstance(self.sigma, tuple) and self.sigma[0] > self.sigma[1]:
            raise ValueError("task.sigma: the interval's ends must ascend")
        return self

    @property
    def scale(self) -> int:
        """Side of the restored image over side of the given one."""
        return self.factor if self.name == "super-resolve" else 1


class Network(Section):
    """The networks of the search space."""

    width: int = Field(128, ge=4, le=1024, multiple_of=4, description="channels of every scale")
    input_channels: Annotated[int, Field(ge=1, le=1024)] | Literal["image"] = Field(
        "image", description="depth of the noise input; 'image' takes the image's own number of channels (ISNAS-DIP)"
    )

    def input_depth(self, image_channels: int) -> int:
        """The noise input's channels for an image of so many channels."""
        return image_channels if self.input_channels == "image" else self.input_channels


def _known_metric(value: object) -> object:
    from workers.metrics import resolve_metric  # noqa: PLC0415 - what it imports, --help does not need

    if isinstance(value, str) and value not in ("psd db strip mse", "random"):
        resolve_metric(value)
    return value


MetricName = Annotated[str, BeforeValidator(_known_metric)]


def _read_candidates(value: object) -> object:
    """A list's ids, if a list is named; ids and numbers as they are."""
    if not isinstance(value, str):
        return value
    path = Path(value)
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib raises for a name that is too long
        shipped = {file.stem: file for file in (shipped_configs() / "candidates").glob("*.csv")}
        if path.parent not in (Path(), Path("configs/candidates")) or path.stem not in shipped:
            raise ValueError(f"there is no list {value!r}; these ship: {', '.join(sorted(shipped))}")
        path = shipped[path.stem]
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError as error:
        raise ValueError(f"the list {value!r} cannot be read: {error.strerror or error}") from None
    # Written as ids, or as the authors of ISNAS-DIP publish them: a cell's id, a comma, 25 bits.
    return [line.replace(",", "-", 1) for line in lines if line and not line.startswith("#")]


class Score(Section):
    """How candidates are scored before anything is fitted."""

    metric: MetricName = Field(
        "psd db strip mse",
        description="the metric at initialisation that makes the shortlist: one of the papers', 'task loss', 'random', or a"
        " function of your own as 'module:object' or entry point (docs/metrics.md)",
    )
    also: list[MetricName] = Field([], description="metrics to write into the table of scores beside those that choose")
    candidates: Annotated[
        Annotated[int, Field(ge=1, le=100_000)] | list[CandidateId], BeforeValidator(_read_candidates)
    ] = Field(
        1000,
        description="how many random candidates, a list of ids, or the name of a list: a CSV file, or one that ships"
        " (isnas522)",
    )
    seed: int = Field(0, ge=0, description="seed of the random candidates and of their untrained weights")
    draws: int = Field(3, ge=1, le=100, description="untrained networks per candidate, averaged")
    view: Literal["square", "native"] = Field(
        "square", description="'square': spectra on squares of 64, 128 or 256 px; 'native': on the image's own size"
    )
    chunk: int = Field(16, ge=1, le=1000, description="candidates per scoring task and part of the bank")

    @model_validator(mode="after")
    def _no_candidate_twice(self) -> typing.Self:
        if isinstance(self.candidates, list) and not self.candidates:
            raise ValueError("the list of candidates is empty")
        if isinstance(self.candidates, list) and len(set(self.candidates)) < len(self.candidates):
            raise ValueError("the list of candidates names one twice")
        return self


ViewName = Literal["crop", "downscale", "full"]
HalvingName = Literal["none", "synchronous", "asha"]


class Cohort(Section):
    """The shortlist that is fitted to choose from."""

    size: int = Field(15, ge=1, le=10_000, description="how many candidates are fitted (K)")
    view: ViewName = Field(
        "crop", description="'crop': the busiest square at native resolution; 'downscale': the image made small; 'full'"
    )
    crop_px: int = Field(128, ge=32, le=1024, description="side of the crop in pixels of the restored image")
    downscale_px: int = Field(64, ge=32, le=1024, description="short side of the image made small, restored, in pixels")
    iterations: int | None = Field(None, ge=1, description="most iterations of a cohort fit; null: as fit.iterations")

    halving: HalvingName = Field(
        "none",
        description="'synchronous': at every rung the worse part of the cohort ends, by held-out error; 'asha': Tune's own"
        " rule for cohorts on crops, which decides by order of arrival, so that no run repeats another",
    )
    first_rung: int = Field(100, ge=1, description="halving: iterations until the first rung")
    keep_share: float = Field(0.5, gt=0, lt=1, description="halving: the share that goes on from each rung")
    rung_factor: int = Field(2, ge=2, description="halving: how many times more iterations each next rung has")

    def rungs(self, iterations: int) -> list[int]:
        """Iterations at which a cohort is halved, ascending, all below the most iterations of a fit."""
        rungs, rung = [], self.first_rung
        while rung < iterations:
            rungs.append(rung)
            rung *= self.rung_factor
        return rungs


class Fit(Section):
    """How a network is fitted to an image."""

    stopping: Literal["auto", "held-out", "es-wmv", "es-emv"] = Field(
        "auto",
        description="what stops a fit: least error on held-out pixels, or least windowed or exponential moving variance of"
        " the outputs; 'auto': held-out but for jpeg, where es-emv",
    )

    iterations: int = Field(3000, ge=1, description="most iterations")
    patience: int = Field(300, ge=1, description="stop after so many iterations without a lower held-out error")
    held_out: float = Field(0.05, gt=0, le=0.5, description="share of the observed pixels that is hidden from the loss")
    held_out_pixels: int = Field(
        1000, ge=0, description="hide so many at least, up to a fifth of them: a choice by fewer is a draw of lots"
    )
    average: float = Field(0.99, ge=0, lt=1, description="weight of the past in the running average of the outputs")
    learning_rate: float = Field(0.01, gt=0, le=1, description="of Adam")
    input_noise: float = Field(1 / 30, ge=0, description="standard deviation of the noise added to the input each step")
    deterministic: bool = Field(
        False,
        description="on a GPU, use only operations that add in a fixed order: equal bytes on equal GPUs with equal versions,"
        " but slower; a CPU always does (docs/reliability.md)",
    )
    block: int = Field(50, ge=1, description="iterations between two looks at the clock; changes no result")
    checkpoint_s: float = Field(60, gt=0, description="seconds of work between checkpoints")


RuleName = Literal["auto", "held-out", "consensus", "held-out+consensus", "weighted-mean"]


class Pick(Section):
    """How one network is chosen without seeing the truth."""

    rule: RuleName = Field(
        "auto",
        description="'held-out': least error on held-out pixels; 'consensus': closest to the cohort's median image;"
        " 'held-out+consensus': both ranks together; 'weighted-mean': closest to the cohort's weighted mean (ISNAS-DIP);"
        " 'auto': by the task",
    )
    noise: Literal["auto", "independent", "correlated"] = Field(
        "auto",
        description="whether noise is independent between pixels, so that held-out pixels tell; 'auto': look at the residual,"
        " and choose by es-emv and consensus where it is not",
    )
    full_fits: int = Field(
        3,
        ge=1,
        description="how many of the best are fitted at full size; the least held-out error there is the pick; more than one give a mean",
    )


class Lottery(Section):
    """Lottery tickets: how sparse networks are found (docs/lottery.md)."""

    network: PriorId | Literal["picked"] | None = Field(
        None,
        description="the network that is pruned, by name; null: the deep image prior's for the task; 'picked': for each image"
        " what the first other arm has picked for it",
    )
    initialisations: int = Field(
        3, ge=1, le=100, description="how many times the weights are drawn, each a chain of its own"
    )
    rounds: int = Field(16, ge=1, le=99, description="how often the network is pruned")
    rate: float = Field(0.2, gt=0, lt=1, description="share of the weights left that each round takes away")
    exempt: list[str] = Field(
        [], description="convolutions that are not pruned, by patterns of their names, such as 'skips.0.*'"
    )
    iterations: int | None = Field(
        None, ge=1, description="iterations of each round, all of which are run; null: as fit.iterations"
    )
    rewind: int = Field(
        0, ge=0, description="imp: rounds begin from the weights that the dense network had after so many iterations"
    )
    target: Literal["observed", "clean"] = Field(
        "observed",
        description="what masks are found on: the degraded image, or, as in the paper, the clean one, which is not blind",
    )
    together: bool = Field(False, description="find one mask for all images of the run instead of one for each")
    oes_iterations: int | None = Field(
        None, ge=1, description="oes: steps in which a mask is learnt; null: as iterations"
    )
    oes_strength: float = Field(
        1e-9, ge=0, description="oes: weight of the masks' divergence from the share to be kept"
    )
    tickets: str | None = Field(
        None, description="the run whose tickets the arms with a source take (evaluate sets it)"
    )
    fit_rounds: list[Annotated[int, Field(ge=1, le=99)]] | None = Field(
        None,
        min_length=1,
        description="fit these rounds only, where masks do not come out of the round before; null: all",
    )
    seed: int | None = Field(None, ge=0, description="seed of the initial weights; null: the run's")

    @model_validator(mode="after")
    def _rounds_exist(self) -> typing.Self:
        if self.fit_rounds is not None and (
            max(self.fit_rounds) > self.rounds or len(set(self.fit_rounds)) < len(self.fit_rounds)
        ):
            raise ValueError(f"lottery.fit_rounds: each once, from 1 to lottery.rounds, {self.rounds}")
        return self


class Resources(Section):
    """What a trial may use."""

    parallel: int | None = Field(
        None, ge=1, description="trials at the same time at most; null: as many as cores, or as share the GPUs"
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads per trial; results are byte-equal for equal threads")
    gpus: Annotated[float, Field(ge=0)] | Literal["auto"] | None = Field(
        None,
        description="GPUs per trial, a fraction shares one; auto: as much of one as the fit needs of its memory; null: auto"
        " where there is a GPU or a cluster can start one, else 0",
    )
    score: Literal["auto", "cpu", "gpu"] = Field(
        "auto",
        description="where candidates are scored when fits use GPUs; auto: on GPUs, unless most CPUs are in machines without",
    )
    retries: int = Field(2, ge=0, description="how often a fit that crashed is tried again")
    store_patience_s: float = Field(
        120,
        ge=0,
        description="how long a store in trouble is waited for, in seconds; then the run pauses (docs/store.md)",
    )

    @model_validator(mode="after")
    def _whole_gpus(self) -> typing.Self:
        if isinstance(self.gpus, float) and self.gpus > 1:
            raise ValueError("a trial uses one GPU at most; gpus must be between 0 and 1")
        return self


class Ingest(Section):
    """What is taken in."""

    max_pixels: int = Field(100_000_000, ge=1, description="larger images are rejected")


class Keep(Section):
    """What stays in the store when an image is done."""

    fits: Literal["none", "full", "all"] = Field(
        "full", description="float outputs and whole curves: of no fit, of the full-size fits, or of the cohort too"
    )
    report_images: int = Field(50, ge=0, description="images shown with pictures in the report")


LotteryArm = Literal["lottery-imp", "lottery-random", "lottery-snip", "lottery-oes", "lottery-dense", "lottery-decoder"]
ArmName = Literal["isnas-dip-blind", "isnas-dip", "random", "dip", "nas-dip", "deep-decoder", "all"] | LotteryArm
ARM_NAMES: tuple[str, ...] = tuple(name for kind in typing.get_args(ArmName) for name in typing.get_args(kind))


class ArmSettings(Section):
    """A method of the user's own: one of ours, with what is different about it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="its name in rows and paths")
    like: ArmName = Field("isnas-dip-blind", description="the arm it is made from")
    networks: list[PriorId] | None = Field(
        None, min_length=1, description="its cohort, by name, instead of a shortlist"
    )
    metric: MetricName | None = Field(None, description="instead of score.metric")
    size: int | None = Field(None, ge=1, description="instead of cohort.size")
    view: ViewName | None = Field(None, description="instead of cohort.view")
    rule: RuleName | None = Field(None, description="instead of pick.rule")
    full_fits: int | None = Field(None, ge=1, description="instead of pick.full_fits")
    halving: HalvingName | None = Field(None, description="instead of cohort.halving")
    source: str | None = Field(
        None,
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)+$",
        description="of a lottery: where in the run lottery.tickets its masks were found",
    )

    @model_validator(mode="after")
    def _no_network_twice(self) -> typing.Self:
        if self.networks is not None and len(set(self.networks)) < len(self.networks):
            raise ValueError("its list of networks names one twice")
        return self

    @property
    def is_lottery(self) -> bool:
        """Whether it prunes networks."""
        return self.like in typing.get_args(LotteryArm)

    @model_validator(mode="after")
    def _a_lottery_has_settings_of_its_own(self) -> typing.Self:
        others = {"networks": self.networks, "metric": self.metric, "size": self.size, "view": self.view}
        given = [name for name, value in {**others, "halving": self.halving}.items() if value is not None]
        if self.is_lottery and given:
            raise ValueError(f"{', '.join(given)}: not of a lottery, whose settings are below lottery")
        if self.source is not None and not self.is_lottery:
            raise ValueError("source: only a lottery's masks come from somewhere")
        return self


def _named_arm(value: object) -> object:
    return {"name": value, "like": value} if isinstance(value, str) else value


class Config(Section):
    """All settings of a run."""

    seed: int = Field(0, ge=0, description="the run's seed: simulated noise, held-out pixels, weights")
    arms: list[Annotated[ArmSettings, BeforeValidator(_named_arm)]] = Field(
        ["isnas-dip-blind"],
        min_length=1,
        validate_default=True,
        description="the methods that restore every image, all from the same degraded input (docs/arms.md)",
    )
    task: Task = Task()
    network: Network = Network()
    score: Score = Score()
    cohort: Cohort = Cohort()
    fit: Fit = Fit()
    pick: Pick = Pick()
    lottery: Lottery = Lottery()
    resources: Resources = Resources()
    ingest: Ingest = Ingest()
    keep: Keep = Keep()

    @model_validator(mode="after")
    def _arms_can_be_told_apart(self) -> typing.Self:
        names = [arm.name for arm in self.arms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"arms: {', '.join(twice)} is there twice; give one of them another name")
        return self

    @model_validator(mode="after")
    def _candidates_fit_the_width(self) -> typing.Self:
        if isinstance(self.score.candidates, list):
            for text in self.score.candidates:
                needed = Candidate.parse(text).cell.width_multiple
                if self.network.width % needed:
                    raise ValueError(f"candidate {text} needs a network.width that is a multiple of {needed}")
        for arm in self.arms:
            for network in arm.networks or ():
                needed = _width_multiple(network)
                if self.network.width % needed:
                    raise ValueError(
                        f"arm {arm.name}: network {network} needs a network.width that is a multiple of {needed}"
                    )
        return self

    @model_validator(mode="after")
    def _lottery_can_be_drawn(self) -> typing.Self:
        lotteries = [arm for arm in self.arms if arm.is_lottery]
        lottery = self.lottery
        if not lotteries:
            return self
        if lottery.network == "picked" and len(lotteries) == len(self.arms):
            raise ValueError("lottery.network: 'picked' by which arm? There are only lotteries")
        if lottery.network not in (None, "picked") and self.network.width % _width_multiple(str(lottery.network)):
            needed = _width_multiple(str(lottery.network))
            raise ValueError(f"lottery.network {lottery.network} needs a network.width that is a multiple of {needed}")
        if lottery.network == "picked" and lottery.together:
            raise ValueError("lottery.together: images for which different networks are picked have no mask in common")
        if lottery.together and lottery.tickets is not None:
            raise ValueError(
                "lottery.together: masks are found here, on all images, or are another run's (lottery.tickets)"
            )
        moved = [arm.name for arm in lotteries if arm.source is not None]
        if moved and lottery.tickets is None:
            raise ValueError(f"arm {moved[0]}: it has a source, but lottery.tickets names no run")
        # Only there the masks of a round come out of the fit of the round before.
        own = [arm.name for arm in lotteries if arm.like == "lottery-imp" and arm.source is None]
        if lottery.fit_rounds is not None and own and lottery.target == "observed" and not lottery.together:
            raise ValueError(f"lottery.fit_rounds: arm {own[0]} finds its masks round by round, and needs all of them")
        return self

    @model_validator(mode="after")
    def _a_blurred_image_is_not_made_small(self) -> typing.Self:
        if self.task.name == "deblur":
            places = [f"arm {arm.name}" for arm in self.arms if arm.view == "downscale"]
            places += ["cohort.view"] * (self.cohort.view == "downscale")
            if places:
                raise ValueError(
                    f"{', '.join(places)}: an image to deblur cannot be made small, since the kernel would no longer be the"
                    " one that blurred it; take crop or full instead of downscale"
                )
        return self

    def iterations(self, view: str) -> int:
        """The most iterations of a fit of this view: a fit at full size is never cut short for the cohort's sake."""
        if view == "full" or self.cohort.iterations is None:
            return self.fit.iterations
        return self.cohort.iterations


def shipped_configs() -> Path:
    """The folder of the settings that come with the package: in a wheel inside it, in a checkout beside it."""
    package = Path(__file__).parents[1]
    return next(folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir())


def find_config(name: str) -> Path:
    """A file of settings: a path, or the name of one that ships (``denoise``, ``configs/denoise.yaml``).

    Raises:
        ConfigError: there is no such file.
    """
    path = Path(name)
    if os.path.isfile(path):  # noqa: PTH113 - pathlib raises for a name that is too long
        return path
    shipped = {file.stem: file for file in shipped_configs().glob("*.yaml")}
    if path.parent in (Path(), Path("configs")) and path.suffix in ("", ".yaml") and path.stem in shipped:
        return shipped[path.stem]
    raise ConfigError(f"no settings file {name!r}; these ship: {', '.join(sorted(shipped))}")


def _short(text: str, length: int = 80) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


def _parse_yaml(text: str) -> Any:
    """Plain values of YAML.

    Raises:
        ConfigError: it is none.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        # Its constructors let their own errors out: of dates like 2020-13-45, numbers like 0x_, deep nesting.
        raise ConfigError(_short(" ".join(str(error).split()), 200)) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = _parse_yaml(path.read_text(encoding="utf-8"))
    except (ConfigError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(printable(f"{path} cannot be read as YAML: {' '.join(str(error).split())}")) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold settings by name, such as 'fit:' and below it '  iterations: 600'")
    return content


def _apply(settings: dict[str, Any], assignment: str) -> str | None:
    """Put ``a.b=value`` into nested settings; returns what is wrong with the assignment, if anything."""
    path, equals, text = assignment.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        return f"--set {_short(assignment)}: write it as name.name=value, such as fit.iterations=600"
    try:
        value = _parse_yaml(text)
    except ConfigError:
        return f"--set {path}: {_short(text)!r} is not a value"
    place = settings
    for key in keys[:-1]:
        inner = place.get(key)
        if not isinstance(inner, dict):
            inner = place[key] = {}
        place = inner
    place[keys[-1]] = value
    return None


def _section(annotation: Any) -> type[Section] | None:
    """The section that a setting of this type is, or that each entry of its list is."""
    while typing.get_origin(annotation) in (list, Annotated):
        annotation = typing.get_args(annotation)[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _setting(location: Iterable[int | str]) -> tuple[int | str, ...]:
    """The location in the user's words: a setting of several kinds is reported with the kinds' names in the path."""
    model: type[Section] | None = Config
    setting: list[int | str] = []
    for key in location:
        if isinstance(key, int):
            setting.append(key)
        elif model is not None:
            setting.append(key)
            field = model.model_fields.get(key)
            model = _section(field.annotation) if field else None
    return tuple(setting)


def _names_at(section: Iterable[int | str]) -> list[str]:
    """The names of the settings that may stand in this section."""
    model: type[Section] = Config
    for key in section:
        field = model.model_fields.get(str(key))
        model = (_section(field.annotation) if field else None) or model
    return list(model.model_fields)


def _unknown(setting: tuple[int | str, ...]) -> str:
    *section, wrong = map(str, setting)
    names = _names_at(section)
    everywhere = [name for name, _, _ in described_settings() if "[]" not in name]
    suggestions = [name for name in everywhere if name.endswith(f".{wrong}")]
    suggestions += [".".join([*section, near]) for near in difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)]
    if suggestions:
        return f"{'.'.join(map(str, setting))}: no such setting; did you mean {suggestions[0]}?"
    return f"{'.'.join(map(str, setting))}: no such setting; known here: {', '.join(names)}"


def _describe(error: ValidationError) -> list[str]:
    """All mistakes, one a line, each with the setting's name."""
    details = [(_setting(detail["loc"]), detail) for detail in error.errors(include_url=False)]
    # Where a list was meant, what is wrong within it says more than that it is no number.
    parents = {
        setting[:end]
        for setting, _ in details
        for end in range(1, len(setting))
        if all(isinstance(key, int) for key in setting[end:])
    }
    messages: dict[tuple[int | str, ...], list[str]] = {}
    for setting, detail in details:
        if detail["type"] == "extra_forbidden":
            messages[setting] = [_unknown(setting)]
        elif setting not in parents:
            message = detail["msg"].removeprefix("Value error, ")
            messages.setdefault(setting, []).append(message[0].lower() + message[1:])
    lines = []
    inputs = {setting: detail["input"] for setting, detail in details if detail["type"] != "value_error"}
    for setting, texts in messages.items():
        name = ".".join(map(str, setting))
        prefix = f"{name}: " if name and not texts[0].startswith(name) else ""
        given = (
            f", not {_short(repr(inputs[setting]))}" if setting in inputs and "no such setting" not in texts[0] else ""
        )
        lines.append(prefix + " or ".join(dict.fromkeys(texts)) + given)
    return lines


def _choose_arms(settings: dict[str, Any], names: list[str]) -> list[str]:
    """Put the arms of these names into the settings; returns what is wrong with the names."""
    given = settings.get("arms")
    described = (
        {arm["name"]: arm for arm in given if isinstance(arm, dict) and isinstance(arm.get("name"), str)}
        if isinstance(given, list)
        else {}
    )
    known = list(dict.fromkeys([*described, *ARM_NAMES]))
    if not names:
        return [f"--arms: name one at least; there are: {', '.join(known)}"]
    mistakes = [
        f"--arms: no arm is called {_short(name)!r}; there are: {', '.join(known)}"
        for name in names
        if name not in known
    ]
    if not mistakes:
        settings["arms"] = [described.get(name, name) for name in names]
    return mistakes


def resolve(config_file: str = DEFAULT, assignments: Iterable[str] = (), *, arms: str | None = None) -> Config:
    """The settings of a file with ``--set`` assignments put over them, and with these arms if there are any.

    ``arms`` has names with commas between them: of ours, or of those that the settings describe.

    Raises:
        ConfigError: with all mistakes, one a line.
    """
    settings = _read_yaml(find_config(config_file))
    mistakes = [mistake for assignment in assignments if (mistake := _apply(settings, assignment))]
    if arms is not None:
        mistakes += _choose_arms(settings, [name.strip() for name in arms.split(",") if name.strip()])
    return _validated(settings, mistakes)


def change(config: Config, assignments: Iterable[str]) -> Config:
    """The settings with ``--set`` assignments put over them.

    Raises:
        ConfigError: with all mistakes, one a line.
    """
    settings = config.model_dump(mode="json")
    mistakes = [mistake for assignment in assignments if (mistake := _apply(settings, assignment))]
    return _validated(settings, mistakes)


def _validated(settings: dict[str, Any], mistakes: list[str]) -> Config:
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        mistakes = [*mistakes, *_describe(error)]
    if mistakes:
        raise ConfigError("\n".join(map(printable, mistakes)))
    return config


def described_settings() -> list[tuple[str, str, str]]:
    """Every setting as (name, default, description), for the documentation; those of a list's entries as ``arms[].name``."""

    def walk(model: type[Section], prefix: str) -> Iterable[tuple[str, str, str]]:
        for name, field in model.model_fields.items():
            section = _section(field.annotation)
            if section is not field.annotation:
                yield f"{prefix}{name}", str(None if field.is_required() else field.default), field.description or ""
            if section is not None:
                yield from walk(section, f"{prefix}{name}." if section is field.annotation else f"{prefix}{name}[].")

    return list(walk(Config, ""))
