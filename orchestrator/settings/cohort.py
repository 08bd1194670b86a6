"""The cohort: the shortlist that is fitted, and how one of its members is chosen."""

from typing import Literal

from pydantic import Field

from orchestrator.settings.section import Section

ViewName = Literal["crop", "downscale", "full"]
HalvingName = Literal["none", "synchronous", "race", "asha"]


class Cohort(Section):
    """The shortlist that is fitted to choose from."""

    size: int = Field(15, ge=1, le=10_000, description="how many candidates are fitted (K)")
    budget: int | None = Field(
        None,
        ge=1,
        description="instead of a size: the most iterations that each method fits to an image; its cohort is as large"
        " as they pay for, those at full size and with all pixels (fit.reveal) included; null: cohort.size decides",
    )
    view: ViewName = Field(
        "crop", description="'crop': the busiest square at native resolution; 'downscale': the image made small; 'full'"
    )
    crop_px: int = Field(128, ge=32, le=1024, description="side of the crop in pixels of the restored image")
    downscale_px: int = Field(64, ge=32, le=1024, description="short side of the image made small, restored, in pixels")
    iterations: int | None = Field(None, ge=1, description="most iterations of a cohort fit; null: as fit.iterations")

    halving: HalvingName = Field(
        "none",
        description="'synchronous': at every rung the worse part of the cohort ends, by held-out error; 'race': 12"
        " begin at full size, and after a sixth of the iterations the best pick.full_fits (at least 3) go on;"
        " 'asha': Tune's own rule for cohorts on crops, which depends on the order of arrival, so that runs are not"
        " reproducible",
    )
    first_rung: int | None = Field(
        None,
        ge=1,
        description="halving: iterations until the first rung; null: half of a cohort fit's, for inpaint a quarter,"
        " since held-out errors rank no sooner; a race has one rung, by default at a sixth",
    )
    keep_share: float = Field(0.5, gt=0, lt=1, description="halving: the share that goes on from each rung")
    rung_factor: int = Field(2, ge=2, description="halving: how many times more iterations each next rung has")

    def rungs(self, first: int, iterations: int) -> list[int]:
        """Iterations at which a cohort is halved, from the first on, ascending, all below the most of a fit."""
        rungs, rung = [], first
        while rung < iterations:
            rungs.append(rung)
            rung *= self.rung_factor
        return rungs


RuleName = Literal["auto", "held-out", "consensus", "held-out+consensus", "weighted-mean"]


class Pick(Section):
    """How one network is chosen without seeing the truth."""

    rule: RuleName = Field(
        "auto",
        description="'held-out': least error on held-out pixels; 'consensus': closest to the cohort's median image;"
        " 'held-out+consensus': both ranks together; 'weighted-mean': closest to the cohort's weighted mean"
        " (ISNAS-DIP); 'auto': by the task",
    )
    noise: Literal["auto", "independent", "correlated"] = Field(
        "auto",
        description="whether noise is independent between pixels, so that held-out pixels can be trusted; 'auto': test"
        " the residual, and choose by es-emv and consensus where it is not",
    )
    full_fits: int = Field(
        3,
        ge=1,
        description="how many of the best are fitted at full size; the one with the least held-out error there is the"
        " pick, and several also give a mean",
    )
