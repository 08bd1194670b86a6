"""Pictures as a page holds them: PNGs within the file itself, and those of an image that are
compared with each other.
"""

import base64
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.report import text
from orchestrator.report.columns import Row
from orchestrator.report.contents import ImageReport

_PNG = b"\x89PNG\r\n\x1a\n"


_SMALL = 640
"""Pictures up to this many pixels stand next to their numbers, enlarged by a whole factor where one fits."""


_WIDEST, _TALLEST = 1120, 820
"""The room the page has for a picture, in CSS pixels."""


_KINDS = (
    ("restored", "Restored", "", "psnr"),
    ("mean", "Mean of the best few", "Mean: ", "psnr_mean"),
    ("stack", "Stack of the fits", "Stack: ", "psnr_stack"),
    ("spread", "Spread map", "Spread: ", ""),
)
"""Pictures of an arm: the field, its title, the form of the title before an arm's name, and its PSNR."""


_FEW_PICTURES = 5
"""With more pictures than this, those side by side are small."""


@dataclass(frozen=True)
class Layer:
    """One picture of the comparison."""

    key: str
    group: str  # the heading it is offered under; empty for a picture without a group
    caption: str
    alt: str
    uri: str
    width: int  # in pixels of the picture
    height: int


@dataclass(frozen=True)
class Pictures:
    """The pictures of an image, all shown at one size: that of the largest."""

    layers: Sequence[Layer]
    groups: Sequence[tuple[str, Sequence[Layer]]]
    left: str  # the layers compared at first
    right: str
    width: int  # in pixels of the picture
    height: int
    shown_width: int  # in CSS pixels, where there is room

    @property
    def enlarged(self) -> bool:
        """Whether single pixels can be seen."""
        return self.shown_width > self.width

    @property
    def many(self) -> bool:
        """Whether the pictures are small when they stand side by side."""
        return len(self.layers) > _FEW_PICTURES

    @property
    def narrow(self) -> bool:
        """Whether there is little room for buttons under the picture."""
        return self.shown_width < 500

    @property
    def wide(self) -> bool:
        """Whether the figures stand under the picture and not next to it."""
        return self.shown_width > _SMALL


def size_of(png: bytes, image: str) -> tuple[int, int]:
    """Width and height in pixels, from the header every PNG starts with.

    Raises:
        ValueError: It is no PNG, or has no pixels; the message names the image.
    """
    if len(png) < 24 or not png.startswith(_PNG):
        raise ValueError(f"a picture of {text.name(image)!r} is not a PNG: give the report 8-bit PNG bytes")
    width, height = struct.unpack(">II", png[16:24])
    if not width or not height:
        raise ValueError(f"a picture of {text.name(image)!r} has no pixels")
    return int(width), int(height)


def data_uri(png: bytes) -> str:
    """The picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def pictures_of(shown: ImageReport, rows: Sequence[Row], row: Row) -> Pictures | None:
    """The pictures of an image that can be compared; None where there is none.

    Args:
        shown: The image with its pictures.
        rows: Its results, one per arm.
        row: The result that is shown next to the pictures.

    Raises:
        ValueError: A picture is not a PNG.
    """
    before, classical = text.number(row.get("psnr_degraded")), text.number(row.get("psnr_classical"))
    layers = [
        *_layer("degraded", shown.degraded, shown.image, title="Degraded", psnr=before),
        *_made_layers(shown, rows),
        *_layer("classical", shown.classical, shown.image, title="Classical filter", psnr=classical),
        *_layer("reference", shown.reference, shown.image, title="Reference"),
    ]
    if not layers:
        return None
    keys = [layer.key for layer in layers]
    right = "restored-1" if "restored-1" in keys[1:] else keys[-1]
    groups = [(group, list(members)) for group, members in groupby(layers, key=lambda layer: layer.group)]
    width, height = max(layer.width for layer in layers), max(layer.height for layer in layers)
    return Pictures(layers, groups, keys[0], right, width, height, _shown_width(width, height))


def _made_layers(shown: ImageReport, rows: Sequence[Row]) -> Iterator[Layer]:
    """The pictures of the arms, by kind. Arms that chose the same network have the same picture: it is offered once."""
    results = {str(row.get("arm")): row for row in rows}
    for what, title, short, key in _KINDS:
        by_png: dict[bytes, list[str]] = {}
        for pictures in shown.arms:
            png: bytes | None = getattr(pictures, what)
            if png is not None:
                by_png.setdefault(png, []).append(pictures.arm)
        for place, (png, arms) in enumerate(by_png.items(), start=1):
            name = {"title": title}
            if len(rows) > 1:
                names = ", ".join(arms)
                name = {"title": f"{title}, {names}", "short": short + names, "group": title}
            psnr = text.number(results.get(arms[0], {}).get(key))
            yield from _layer(f"{what}-{place}", png, shown.image, psnr=psnr, **name)


def _layer(
    key: str, png: bytes | None, image: str, *, title: str, short: str = "", group: str = "", psnr: float | None = None
) -> Iterator[Layer]:
    """The picture, if there is one; ``short`` is its title where there is little room."""
    if png is None:
        return
    width, height = size_of(png, image)
    caption = short or title
    yield Layer(
        key=key,
        group=group,
        caption=caption if psnr is None else f"{caption} · {text.decibels(psnr)} dB",
        alt=f"{title}: {text.name(image)}",
        uri=data_uri(png),
        width=width,
        height=height,
    )


def _shown_width(width: int, height: int) -> int:
    """The width in CSS pixels: a whole factor for small pictures, so that each pixel stays a square."""
    factor = min(_SMALL // width, _SMALL // height)
    if factor >= 1:
        return factor * width
    # A tall picture is fitted to a screen, but never so narrow that the divider cannot be held.
    return min(width, _WIDEST, max(round(_TALLEST * width / height), 320))
