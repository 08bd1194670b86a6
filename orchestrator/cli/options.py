"""Options that several commands share, in sections, and their translation into those of `orchestrator.api`."""

import argparse
from typing import Any, get_args

from orchestrator.api import What
from orchestrator.settings.effort import EFFORTS
from orchestrator.settings.task import MatrixName, TaskName


def add_images(parser: argparse.ArgumentParser, *, simulate: bool, required: bool = True) -> None:
    """The inputs of a run; with ``simulate`` there is an option that takes clean images and degrades them."""
    section = parser.add_argument_group("images")
    section.add_argument(
        "--images", required=required, metavar="DIR", help="the folder of images, degraded or (where simulated) clean"
    )
    truth = section.add_mutually_exclusive_group()
    truth.add_argument(
        "--references", metavar="DIR", help="clean images of the same names and sizes: only to report PSNR and SSIM"
    )
    if simulate:
        truth.add_argument(
            "--simulate",
            action="store_true",
            help="the images are clean: degrade them by the task, restore, report PSNR",
        )


def add_task(parser: argparse.ArgumentParser, *, default: str) -> None:
    """The degradation of the images; ``default`` is the text for the case without the option."""
    section = parser.add_argument_group("task", "the degradation of the images; docs/tasks.md")
    section.add_argument("--task", choices=get_args(TaskName), help=f"default: {default}")
    section.add_argument(
        "--sigma",
        type=_levels,
        metavar="S",
        help="denoise, deblur, compressed-sensing: Gaussian noise that --simulate adds, in 8-bit grey levels, or"
        " LOW,HIGH to draw a level for each image; a fit does not need the level",
    )
    section.add_argument("--masks", metavar="DIR", help="inpaint: masks of the images' names and sizes")
    section.add_argument(
        "--mask-known",
        choices=["white", "black"],
        default="white",
        help="inpaint: which of a mask's pixels are known (default: white); the others are filled in",
    )
    section.add_argument(
        "--factor", type=int, metavar="N", help="super-resolve: how many times larger: 2, 3, 4 (default) or 8"
    )
    section.add_argument(
        "--kernel",
        metavar="K",
        help="deblur: 'gaussian SIGMA' (default: 'gaussian 1.6') or 'motion LENGTH DEGREES' in pixels, or a .npy or"
        " text file",
    )
    section.add_argument(
        "--quality",
        type=int,
        metavar="Q",
        help="jpeg: the quality at which --simulate compresses, 1 to 95 (default: 10)",
    )
    section.add_argument(
        "--measurements", type=int, metavar="M", help="compressed-sensing: how many values of an image are measured"
    )
    section.add_argument(
        "--matrix",
        choices=get_args(MatrixName),
        help="compressed-sensing: the kind of the measurement matrix (default: gaussian)",
    )


def add_settings(parser: argparse.ArgumentParser, *, without: str, arms: bool = False) -> None:
    """The settings of a run; ``without`` describes its sizes when neither ``--effort`` nor ``--config`` is given.

    With ``arms`` there is an option that names the methods.
    """
    section = parser.add_argument_group(
        "effort and settings", "--set overrides the task's options and --effort, and these override --config"
    )
    section.add_argument(
        "--effort",
        choices=EFFORTS,
        help="how much is tried: quick is for a CPU, standard the papers' sizes for a GPU, thorough more (default:"
        f" {without})",
    )
    section.add_argument(
        "--config",
        metavar="FILE",
        help="settings: a YAML file, or the name of one that ships: quickstart, denoise, inpaint, super-resolve,"
        " compressed-sensing, lottery",
    )
    add_assignments(section, "override a setting; repeatable; docs/settings.md lists them")
    if arms:
        section.add_argument(
            "--arms",
            metavar="A,B",
            help="the methods that restore every image: isnas-dip-blind (default), isnas-dip, random, dip, seeds,"
            " nas-dip, portfolio, deep-decoder, all, lottery-imp, lottery-random, lottery-snip, lottery-oes,"
            " lottery-dense, lottery-decoder; or those of the settings",
        )
    section = parser.add_argument_group("run")
    section.add_argument(
        "--run", metavar="NAME", help="the run's name (default: from the time); one that was begun is resumed"
    )
    section.add_argument(
        "--dry-run", action="store_true", help="print the plan and an estimate of its time; run nothing"
    )
    section.add_argument("--json", action="store_true", help="with --dry-run: the plan as an object, for programs")


def add_assignments(parser: Any, help: str) -> None:
    """Settings on the command line, in a parser or a section of one."""
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments", help=help)


def add_trust(section: Any, help: str) -> None:
    """The user's word that a record in the store may name code to be imported, and folders to be read."""
    section.add_argument("--trust", action="store_true", help=f"{help}; whoever may write to the store may write it")


def add_where(parser: argparse.ArgumentParser) -> None:
    """The place where a run is carried out."""
    section = parser.add_argument_group("where", "docs/clusters.md")
    section.add_argument(
        "--address",
        metavar="URL",
        help="a Ray cluster: the address of its dashboard, such as http://127.0.0.1:8265, on whose head the run's"
        " driver is started as a job; or auto, the cluster that this machine belongs to, with the driver here (default:"
        " this machine alone)",
    )
    section.add_argument("--detach", action="store_true", help="with --address URL: do not wait for the run's end")
    section.add_argument(
        "--ship-code",
        action="store_true",
        help="with --address URL: send this machine's code, if the cluster has another state of it",
    )
    section.add_argument("--no-dashboard", action="store_true", help="do not start Ray's dashboard")


def what_of(options: argparse.Namespace) -> What:
    """The inputs and settings of a run, as these options have them."""
    return What(
        references=options.references,
        masks=options.masks,
        mask_known=options.mask_known,
        task=options.task,
        sigma=options.sigma,
        factor=options.factor,
        kernel=options.kernel,
        quality=options.quality,
        measurements=options.measurements,
        matrix=options.matrix,
        effort=options.effort,
        config=options.config,
        settings=options.assignments,
        store=options.store,
        run=options.run,
    )


def _levels(text: str) -> float | tuple[float, float]:
    """A noise level, or the interval between two."""
    low, comma, high = text.partition(",")
    return (float(low), float(high)) if comma else float(low)
