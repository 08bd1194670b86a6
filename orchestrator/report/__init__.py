"""The page a person reads after a run: one HTML file with the results, the pictures and the curves in it."""

from orchestrator.report.chart import Curve
from orchestrator.report.lottery import LotteryImage, LotteryReport, RoundPicture, TicketLayers
from orchestrator.report.page import ArmPictures, ImageReport, RunReport, render

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
