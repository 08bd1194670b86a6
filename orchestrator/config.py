"""The settings of a run: what may be set, in which units and ranges, read from YAML files and ``--set a.b=value``.

Every mistake is reported at once, and an unknown key with the nearest name that exists. The resolved settings are stored
with the run.
"""

import difflib
import os
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from orchestrator.errors import ConfigError
from orchestrator.text import printable
from workers.space import Candidate, InvalidCandidateError

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


class Task(Section):
    """What degraded the images."""

    name: Literal["denoise"] = Field("denoise", description="the task")
    sigma: float = Field(
        25, ge=0, le=255, description="noise simulated by --simulate, in 8-bit grey levels; a fit never uses it"
    )


class Network(Section):
    """The networks of the search space."""

    width: int = Field(128, ge=4, le=1024, multiple_of=4, description="channels of every scale")
    input_channels: Annotated[int, Field(ge=1, le=1024)] | Literal["image"] = Field(
        "image", description="depth of the noise input; 'image' takes the image's own number of channels (ISNAS-DIP)"
    )

    def input_depth(self, image_channels: int) -> int:
        """The noise input's channels for an image of so many channels."""
        return image_channels if self.input_channels == "image" else self.input_channels


class Score(Section):
    """How candidates are scored before anything is fitted."""

    metric: Literal["psd db strip mse", "psd strip hist emd", "random"] = Field(
        "psd db strip mse", description="the metric at initialisation that makes the shortlist"
    )
    candidates: Annotated[int, Field(ge=1, le=100_000)] | list[CandidateId] = Field(
        1000, description="how many random candidates, or a list of ids"
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


class Cohort(Section):
    """The shortlist that is fitted to choose from."""

    size: int = Field(15, ge=1, le=10_000, description="how many candidates are fitted (K)")
    view: Literal["crop", "downscale", "full"] = Field(
        "crop", description="'crop': the busiest square at native resolution; 'downscale': the image made small; 'full'"
    )
    crop_px: int = Field(128, ge=32, le=1024, description="side of the crop in pixels")
    downscale_px: int = Field(64, ge=32, le=1024, description="short side of the scaled image in pixels")
    iterations: int | None = Field(None, ge=1, description="most iterations of a cohort fit; null: as fit.iterations")


class Fit(Section):
    """How a network is fitted to an image."""

    iterations: int = Field(3000, ge=1, description="most iterations")
    patience: int = Field(300, ge=1, description="stop after so many iterations without a lower held-out error")
    held_out: float = Field(0.05, gt=0, le=0.5, description="share of the pixels hidden from the loss")
    average: float = Field(0.99, ge=0, lt=1, description="weight of the past in the running average of the outputs")
    learning_rate: float = Field(0.01, gt=0, le=1, description="of Adam")
    input_noise: float = Field(1 / 30, ge=0, description="standard deviation of the noise added to the input each step")
    block: int = Field(50, ge=1, description="iterations between two looks at the clock; changes no result")
    checkpoint_s: float = Field(60, gt=0, description="seconds of work between checkpoints")


class Pick(Section):
    """How one network is chosen without seeing the truth."""

    rule: Literal["held-out", "weighted-mean"] = Field(
        "held-out",
        description="'held-out': least error on held-out pixels; 'weighted-mean': closest to the cohort's weighted mean"
        " (ISNAS-DIP)",
    )
    full_fits: int = Field(
        3,
        ge=1,
        description="how many of the best are fitted at full size; the least held-out error there is the pick; more than one give a mean",
    )


class Resources(Section):
    """What a trial may use."""

    parallel: int | None = Field(
        None, ge=1, description="trials at the same time at most; null: as many as cores, or as share the GPUs"
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads per trial; results are byte-equal for equal threads")
    gpus: float | None = Field(
        None, ge=0, description="GPUs per trial, a fraction shares one; null: 1 where there is a GPU, else 0"
    )
    retries: int = Field(2, ge=0, description="how often a trial that crashed is tried again")

    @model_validator(mode="after")
    def _whole_gpus(self) -> typing.Self:
        if self.gpus is not None and self.gpus > 1:
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


class Config(Section):
    """All settings of a run."""

    seed: int = Field(0, ge=0, description="the run's seed: simulated noise, held-out pixels, weights")
    arm: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9-]{0,39}$",
        description="name of the method in rows and paths; null: from what is set",
    )
    task: Task = Task()
    network: Network = Network()
    score: Score = Score()
    cohort: Cohort = Cohort()
    fit: Fit = Fit()
    pick: Pick = Pick()
    resources: Resources = Resources()
    ingest: Ingest = Ingest()
    keep: Keep = Keep()

    @model_validator(mode="after")
    def _candidates_fit_the_width(self) -> typing.Self:
        if isinstance(self.score.candidates, list):
            for text in self.score.candidates:
                needed = Candidate.parse(text).cell.width_multiple
                if self.network.width % needed:
                    raise ValueError(f"candidate {text} needs a network.width that is a multiple of {needed}")
        return self

    @property
    def method(self) -> str:
        """The arm's name: as set, or what the settings amount to."""
        if self.arm is not None:
            return self.arm
        if self.score.metric == "random":
            return "random"
        as_published = self.cohort.view == "downscale" and self.pick.rule == "weighted-mean"
        return "isnas-dip" if as_published else "isnas-dip-blind"

    def iterations(self, view: str) -> int:
        """The most iterations of a fit of this view: a fit at full size is never cut short for the cohort's sake."""
        if view == "full" or self.cohort.iterations is None:
            return self.fit.iterations
        return self.cohort.iterations


def shipped_configs() -> Path:
    """The folder of the settings that come with the package: in a wheel inside it, in a checkout beside it."""
    package = Path(__file__).parent
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
        raise ConfigError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
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
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _setting(location: Iterable[int | str]) -> tuple[int | str, ...]:
    """The location in the user's words: a setting of several kinds is reported with the kinds' names in the path."""
    model: type[Section] | None = Config
    setting: list[int | str] = []
    for key in location:
        if model is not None or isinstance(key, int):
            setting.append(key)
            field = model.model_fields.get(str(key)) if model else None
            model = _section(field.annotation) if field else None
    return tuple(setting)


def _names_at(section: Iterable[int | str]) -> list[str]:
    """The names of the settings that may stand in this section."""
    model: type[Section] = Config
    for key in section:
        model = _section(model.model_fields[str(key)].annotation) or Config
    return list(model.model_fields)


def _unknown(setting: tuple[int | str, ...]) -> str:
    *section, wrong = map(str, setting)
    names = _names_at(section)
    suggestions = [name for name, _, _ in described_settings() if name.endswith(f".{wrong}")]
    suggestions += [".".join([*section, near]) for near in difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)]
    if suggestions:
        return f"{'.'.join(map(str, setting))}: no such setting; did you mean {suggestions[0]}?"
    return f"{'.'.join(map(str, setting))}: no such setting; known here: {', '.join(names)}"


def _describe(error: ValidationError) -> list[str]:
    """All mistakes, one a line, each with the setting's name."""
    details = [(_setting(detail["loc"]), detail) for detail in error.errors(include_url=False)]
    # Where a list was meant, what is wrong within it says more than that it is no number.
    parents = {setting[:-1] for setting, _ in details if setting and isinstance(setting[-1], int)}
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
        given = f", not {inputs[setting]!r}" if setting in inputs and "no such setting" not in texts[0] else ""
        lines.append(prefix + " or ".join(dict.fromkeys(texts)) + given)
    return lines


def resolve(config_file: str = DEFAULT, assignments: Iterable[str] = ()) -> Config:
    """The settings of a file with ``--set`` assignments put over them.

    Raises:
        ConfigError: with all mistakes, one a line.
    """
    settings = _read_yaml(find_config(config_file))
    mistakes = [mistake for assignment in assignments if (mistake := _apply(settings, assignment))]
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        mistakes += _describe(error)
    if mistakes:
        raise ConfigError("\n".join(map(printable, mistakes)))
    return config


def described_settings() -> list[tuple[str, str, str]]:
    """Every setting as (name, default, description), for the documentation and ``--help``."""

    def walk(model: type[Section], prefix: str) -> Iterable[tuple[str, str, str]]:
        for name, field in model.model_fields.items():
            section = _section(field.annotation)
            if section is not None:
                yield from walk(section, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", str(field.default), field.description or ""

    return list(walk(Config, ""))
