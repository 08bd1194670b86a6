"""Limits of a run: the resources of its trials, the images it takes in, the fits it keeps."""

import typing
from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.settings.section import Section


class Resources(Section):
    """The resources of a trial, and what happens when one fails."""

    parallel: int | None = Field(
        None,
        ge=1,
        description="the most trials at the same time; null: one for each core, or as many as share the GPUs",
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads per trial; results are byte-equal for equal threads")
    gpus: Annotated[float, Field(ge=0)] | Literal["auto"] | None = Field(
        None,
        description="GPUs per trial, a fraction shares one; auto: the share of one whose memory the fit needs; null:"
        " auto where there is a GPU or a cluster can start one, else 0",
    )
    score: Literal["auto", "cpu", "gpu"] = Field(
        "auto",
        description="where candidates are scored when fits use GPUs; auto: on GPUs, unless most CPUs are in machines"
        " without GPUs",
    )
    side_by_side: int = Field(
        8,
        ge=1,
        description="the most fits that one trial does side by side on a GPU, if all reserve shares of it and no"
        " contest may stop one; 1: a trial for each; on a CPU each has its own",
    )
    retries: int = Field(2, ge=0, description="how often a crashed fit is retried")
    store_patience_s: float = Field(
        120,
        ge=0,
        description="how many seconds a run waits for a store in trouble before it pauses (docs/store.md)",
    )

    hours: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="the machine hours, of all attempts together, after which the run ends with what is finished;"
        " resume with a larger value goes on with it; null: no bound",
    )
    price_per_hour: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="the price of one hour of one machine, in any currency; plan and results show the cost",
    )

    @model_validator(mode="after")
    def _whole_gpus(self) -> typing.Self:
        if isinstance(self.gpus, float) and self.gpus > 1:
            raise ValueError("a trial uses one GPU at most; gpus must be between 0 and 1")
        return self


class Ingest(Section):
    """Limits of the images that are taken in."""

    max_pixels: int = Field(100_000_000, ge=1, description="larger images are rejected")


class Keep(Section):
    """The objects that stay in the store when an image is finished."""

    fits: Literal["none", "full", "all"] = Field(
        "full",
        description="the fits whose float outputs and whole curves are kept: none, those at full size, or the"
        " cohort's too",
    )
    report_images: int = Field(50, ge=0, description="images shown with pictures in the report")
