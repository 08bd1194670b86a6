"""Restore a folder of images."""

import argparse
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.cli.common import add_assignments, duration, store_of
from orchestrator.cli.driving import add_where, carry_out
from orchestrator.settings import DEFAULT, resolve
from orchestrator.store import Store
from orchestrator.text import printable

if TYPE_CHECKING:
    from orchestrator.arms.arm import Arm
    from orchestrator.plan.make import Plan, Resolve
    from orchestrator.settings import Config

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    truth = add_inputs(parser)
    truth.add_argument(
        "--simulate", action="store_true", help="the images are clean: degrade them by the task, restore, report PSNR"
    )
    parser.add_argument(
        "--arms",
        metavar="A,B",
        help="the methods that restore every image: isnas-dip-blind (default), isnas-dip, random, dip, nas-dip, deep-decoder,"
        " all, lottery-imp, lottery-random, lottery-snip, lottery-oes, lottery-dense, lottery-decoder; or those of the"
        " settings",
    )
    add_settings(parser, default=DEFAULT)


def add_inputs(parser: argparse.ArgumentParser) -> Any:
    """What a run works on; returns the group of options that tell where the truth is, of which one can be given."""
    parser.add_argument(
        "--images", required=True, metavar="DIR", help="the folder of images, degraded or (where simulated) clean"
    )
    parser.add_argument("--masks", metavar="DIR", help="inpainting: masks of the images' names and sizes")
    parser.add_argument(
        "--mask-known",
        choices=["white", "black"],
        default="white",
        help="which of a mask's pixels are known (default: white); the others are painted in",
    )
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument(
        "--references", metavar="DIR", help="clean images of the same names and sizes: only to report PSNR and SSIM"
    )
    return truth


def add_settings(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """How a run is to go; without a ``default`` its settings are those of the run that it builds on."""
    parser.add_argument(
        "--config",
        default=default,
        metavar="FILE",
        help="settings: a YAML file, or the name of one that ships: quickstart, denoise, inpaint, super-resolve,"
        f" lottery (default: {default or 'those of that run'})",
    )
    add_assignments(parser, "override a setting; repeatable")
    parser.add_argument(
        "--run", metavar="NAME", help="the run's name (default: from the time); one that was begun goes on where it was"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the plan and an estimate of its time; run nothing"
    )
    add_where(parser)


def plan_of(
    options: argparse.Namespace, store: Store, config: "Config", *, simulate: bool, **resolve: "Resolve | None"
) -> "Plan":
    """The plan that the options ask for; ``resolve`` as in `orchestrator.plan.make.make_plan`."""
    from orchestrator.plan.make import make_plan
    from orchestrator.run.inputs import Source

    source = Source(options.images, options.references, options.masks, options.mask_known == "white")
    return make_plan(store, config, source, simulate=simulate, run=options.run, command=options.command, **resolve)


def act(options: argparse.Namespace) -> int:
    """Plan, and carry the plan out."""
    # Torch and Ray take seconds to import: after the mistakes that can be found without them.
    store = store_of(options)
    config = resolve(options.config, options.assignments, arms=options.arms)
    planned = partial(plan_of, options, store, config, simulate=options.simulate)
    if options.dry_run:
        print_plan(planned(), store, options.config)
        return 0
    return carry_out(options, store, planned)


def _task(config: "Config") -> str:
    return f"{config.task.name} x{config.task.scale}" if config.task.scale > 1 else config.task.name


def _arm(arm: "Arm", config: "Config") -> str:
    """What an arm does with each image, in a line."""
    if arm.is_lottery:
        return _lottery(arm, config)
    source = f"the best {arm.size} by {arm.metric}" if arm.networks is None else ", ".join(arm.networks)
    if arm.metric == "random" and arm.networks is None:
        source = f"{arm.size} at random"
    if arm.size == 1:
        return f"{arm.name}: {source}, at full size"
    view = {"crop": f"crops of {config.cohort.crop_px} px", "downscale": "the image made small", "full": "full size"}
    halved = f", halved after {', '.join(map(str, arm.rungs))} iterations" if arm.rungs else ""
    then = f", then the best {arm.refits} at full size" if arm.refits else ""
    return f"{arm.name}: {source}, on {view[arm.view]}{halved}, chosen by {arm.rule}{then}"


def _lottery(arm: "Arm", config: "Config") -> str:
    """What a lottery does with each image, in a line."""
    lottery = config.lottery
    network = "what is picked" if arm.networks is None else arm.networks[0]
    rounds = lottery.fit_rounds or range(1, lottery.rounds + 1)
    what = f"{network}, pruned by {arm.method}"
    if not arm.traits.prunes:
        what = f"deep decoders the size of {network}, pruned" if arm.traits.decoder else network
    where = f" on {arm.source}" if arm.source else " on the clean image" if lottery.target == "clean" else ""
    many = "" if not arm.traits.many_rounds else f" in {len(rounds)} rounds of {lottery.rate:.0%}{where}"
    return f"{arm.name}: {what}{many}, {lottery.initialisations} initialisations, at full size, chosen by {arm.rule}"


def print_plan(plan: "Plan", store: Store, config_name: str) -> None:
    """What would be done, and how long it would take."""
    from orchestrator.plan.estimate import estimate

    config = plan.config
    sizes = Counter(f"{image.width}x{image.height}x{image.channels}" for image in plan.images)
    shown = ", ".join(f"{count} of {size}" if count > 1 else size for size, count in sizes.most_common(_SHOWN))
    more = f" and {len(sizes) - _SHOWN} more sizes" if len(sizes) > _SHOWN else ""
    print(f"settings    {config_name}, task {_task(config)}")
    print(f"images      {len(plan.images)} ({shown}{more}), {len(plan.rejected)} rejected")
    for rejected in plan.rejected[:_SHOWN]:
        print(f"            {printable(f'{rejected.name}: {rejected.reason}')}")
    if len(plan.rejected) > _SHOWN:
        print(f"            ... and {len(plan.rejected) - _SHOWN} more")
    truth = (
        "simulated" if plan.simulate else ("given" if plan.images[0].reference else "none: no PSNR, blind quality only")
    )
    print(f"references  {truth}")
    if plan.candidates:
        print(f"candidates  {plan.candidates}, {config.score.draws} draw(s) each")
    for arm in plan.arms:
        print(f"arm         {_arm(arm, config)}")
    print(f"trials      at most {plan.trials}; arms share the fits that they have in common")
    print(f"store       {store.url}")
    expected = estimate(plan, store)
    print(
        f"time        at most {duration(expected.seconds)} on this machine's CPU, {expected.parallel} trials at a time"
        f" (scoring {duration(expected.score_seconds / expected.parallel)});"
        " fits usually stop earlier"
    )
    print("nothing was run")
