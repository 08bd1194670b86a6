"""The classical filters that every image is restored by, beside the arms."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, ValidationInfo

from orchestrator.settings.section import Section
from orchestrator.settings.trust import may_import

if TYPE_CHECKING:
    from workers.classical import Denoiser

ENTRY_POINTS = "dip_orchestrator.denoisers"


def _load(name: str) -> "Callable[..., object]":
    from importlib.metadata import entry_points  # noqa: PLC0415 - --help needs none of it

    from workers.plugins import load  # noqa: PLC0415

    return load(name, ENTRY_POINTS, "denoiser", sorted(entry_points(group=ENTRY_POINTS).names))


def _known_denoiser(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str) and may_import(value, info.context):
        _load(value)
    return value


DenoiserName = Annotated[str, BeforeValidator(_known_denoiser)]


class Classical(Section):
    """The classical filters that every image is restored by, beside the arms (docs/classical.md)."""

    use: bool = Field(
        True,
        description="restore every image by classical filters too, tell what the search gains over them, and deliver"
        " theirs where it gains nothing",
    )
    max_pixels: int = Field(
        4_000_000,
        ge=1,
        description="the largest restored image that is filtered, since the filters take about 250 MB a megapixel",
    )
    also: list[DenoiserName] = Field(
        [],
        description="filters of your own beside those of scikit-image: functions as 'module:object' or entry points",
    )

    def denoisers(self) -> "dict[str, Denoiser]":
        """The user's own filters, by name."""
        return {name: _load(name) for name in self.also}  # type: ignore[misc]
