"""The cohorts that a portfolio's lists give."""

from collections.abc import Sequence

from orchestrator.arms.arm import Band
from orchestrator.settings.portfolio import Portfolio

_USUAL = 25.0
"""The level, in 8-bit grey levels, of an image whose noise cannot be estimated."""


def bands_of(lists: Sequence[Portfolio], size: int) -> tuple[Band, ...]:
    """The cohorts by the noise of an image, ascending; none where one list serves all noise."""
    bands = [Band(*each.noise, tuple(each.networks[:size])) for each in lists if each.noise is not None]
    return tuple(sorted(bands, key=lambda band: (band.low, band.high)))


def cohort_of(lists: Sequence[Portfolio], size: int) -> tuple[str, ...]:
    """The cohort of an image of unknown noise: of the list for these, else of that for the usual noise."""
    general = [tuple(each.networks[:size]) for each in lists if each.noise is None]
    return general[0] if general else min(bands_of(lists, size), key=lambda band: band.far_from(_USUAL)).networks
