"""The page a person reads after a run: an HTML file with the results, the pictures and the curves in it.

More results than a browser lays out at once are on pages beside it, which also open from a folder.
"""

from orchestrator.report.contents import (
    ArmPictures,
    ImageReport,
    LotteryImage,
    LotteryReport,
    RoundPicture,
    RunReport,
    TicketLayers,
)
from orchestrator.report.page import render, render_results
from orchestrator.report.svg.curves import Curve

__all__ = [
    "ArmPictures",
    "Curve",
    "ImageReport",
    "LotteryImage",
    "LotteryReport",
    "RoundPicture",
    "RunReport",
    "TicketLayers",
    "render",
    "render_results",
]
