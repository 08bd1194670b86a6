"""The page a person reads after a run: one HTML file with the results, the pictures and the curves in it."""

from orchestrator.report.chart import Curve
from orchestrator.report.page import ArmPictures, ImageReport, RunReport, render

__all__ = ["ArmPictures", "Curve", "ImageReport", "RunReport", "render"]
