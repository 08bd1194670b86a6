"""A plan for people: the work, and how long it would take."""

from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.cli.shown.units import duration
from orchestrator.store import Store
from orchestrator.text import counted, printable

if TYPE_CHECKING:
    from orchestrator.arms.arm import Arm
    from orchestrator.plan.plan import Plan
    from orchestrator.settings import Config


_SHOWN = 10


def _task(config: "Config") -> str:
    return f"{config.task.name} x{config.task.scale}" if config.task.scale > 1 else config.task.name


def _arm(arm: "Arm", config: "Config") -> str:
    """The work of an arm on each image, in a line."""
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
    """The work of a lottery on each image, in a line."""
    lottery = config.lottery
    network = "what is picked" if arm.networks is None else arm.networks[0]
    rounds = lottery.fit_rounds or range(1, lottery.rounds + 1)
    what = f"{network}, pruned by {arm.method}"
    if not arm.traits.prunes:
        what = f"deep decoders the size of {network}, pruned" if arm.traits.decoder else network
    where = f" on {arm.source}" if arm.source else " on the clean image" if lottery.target == "clean" else ""
    many = "" if not arm.traits.many_rounds else f" in {counted(len(rounds), 'round')} of {lottery.rate:.0%}{where}"
    draws = counted(lottery.initialisations, "initialisation")
    return f"{arm.name}: {what}{many}, {draws}, at full size, chosen by {arm.rule}"


def print_plan(plan: "Plan", store: Store, config_name: str) -> None:
    """Print the work of a plan, and how long it would take."""
    from orchestrator.plan.estimate import estimate

    config = plan.config
    sizes = Counter(f"{image.width}x{image.height}x{image.channels}" for image in plan.images)
    shown = ", ".join(f"{count} of {size}" if count > 1 else size for size, count in sizes.most_common(_SHOWN))
    more = f" and {len(sizes) - _SHOWN} more sizes" if len(sizes) > _SHOWN else ""
    print(f"settings    {config_name}, task {_task(config)}")
    if plan.sizing is not None and plan.sizing.effort is not None:
        print(f"effort      {plan.sizing.effort}: {plan.sizing.why}")
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
