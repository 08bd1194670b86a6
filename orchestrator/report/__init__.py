"""The page a person reads after a run: one HTML file with the results, the pictures and the curves in it."""

from orchestrator.report.contents import (
    ArmPictures,
    ImageReport,
    LotteryImage,
    LotteryReport,
    RoundPicture,
    RunReport,
    TicketLayers,
)
from orchestrator.report.page import render
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
]
