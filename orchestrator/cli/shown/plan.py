"""A plan for people: the work, and how long it would take."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from orchestrator.cli.shown.units import size_of
from orchestrator.store import Store
from orchestrator.text import counted, duration, printable

if TYPE_CHECKING:
    from orchestrator.arms.arm import Arm
    from orchestrator.plan.advice import Advice
    from orchestrator.plan.estimate import Estimate
    from orchestrator.plan.plan import Plan
    from orchestrator.plan.request import Request
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
    if arm.bands:
        source = "; ".join(f"noise {band.low:g} to {band.high:g}: {', '.join(band.networks)}" for band in arm.bands)
    if arm.size == 1:
        return f"{arm.name}: {source}, at full size"
    view = {"crop": f"crops of {config.cohort.crop_px} px", "downscale": "the image made small", "full": "full size"}
    halved = f", halved after {', '.join(map(str, arm.rungs))} iterations" if arm.rungs else ""
    if arm.races:
        halved = f", of which the best {arm.full_fits} go on after {arm.rungs[0]} iterations"
    then = f", then the best {arm.refits} at full size" if arm.refits else ""
    return f"{arm.name}: {source}, on {view[arm.view]}{halved}, chosen by {arm.rule}{then}"


def _paid(arm: "Arm", config: "Config") -> str:
    """What an arm takes of its budget, if it has one."""
    from orchestrator.arms.budget import iterations_of_arm

    if config.cohort.budget is None or arm.is_lottery:
        return ""
    return f": at most {counted(round(iterations_of_arm(config, arm)), 'iteration')}"


def _learnt_on(plan: "Plan") -> Iterator[tuple[str, str]]:
    """The arms whose portfolios were learnt on pictures of the plan, by the names of these."""
    stems = {PurePosixPath(image.name).stem for image in plan.images}
    for arm in plan.config.arms:
        learnt = {image for each in arm.portfolio or () for image in each.images if PurePosixPath(image).stem in stems}
        if learnt:
            yield arm.name, ", ".join(sorted(learnt))


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


@dataclass(frozen=True)
class Forecast:
    """What a plan takes: time, bytes of the store, and what would do where the time is longer than a day."""

    time: "Estimate"
    store_bytes: int
    advice: "Advice | None"


def show_plan(request: "Request", plan: "Plan", config_name: str, *, as_json: bool) -> None:
    """Estimate what the plan of a request takes, and print both, for people or for programs."""
    from orchestrator.plan.advice import advice_for
    from orchestrator.plan.estimate import estimate
    from orchestrator.plan.room import store_bytes

    store, expected = request.store, estimate(plan, request.store)
    forecast = Forecast(expected, store_bytes(plan, store), advice_for(request, plan, expected))
    if as_json:
        print(json.dumps(plan_object(plan, store, config_name, forecast), indent=2))
    else:
        print_plan(plan, store, config_name, forecast)


def plan_object(plan: "Plan", store: Store, config_name: str, forecast: Forecast) -> dict[str, Any]:
    """A plan for programs: plain values. Times, bytes and the cost are upper bounds."""
    price = plan.config.resources.price_per_hour
    return {
        "run": plan.run,
        "settings": config_name,
        "effort": None if plan.sizing is None else plan.sizing.effort,
        "store": store.url,
        "images": len(plan.images),
        "rejected": [{"name": each.name, "reason": each.reason} for each in plan.rejected],
        "tiles": plan.tiles,
        "candidates": plan.candidates,
        "arms": [arm.name for arm in plan.arms],
        "trials": plan.trials,
        "parallel": forecast.time.parallel,
        "device": forecast.time.device,
        "seconds": forecast.time.seconds,
        "gpu_hours": forecast.time.gpu_hours,
        "store_bytes": forecast.store_bytes,
        "cost": None if price is None else forecast.time.cost(price),
        "advice": None if forecast.advice is None else forecast.advice.sentence,
    }


def print_plan(plan: "Plan", store: Store, config_name: str, forecast: Forecast) -> None:
    """Print the work of a plan, and how long it would take."""
    config, expected = plan.config, forecast.time
    if forecast.advice is not None:
        print(f"long        {forecast.advice.sentence}")
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
    if plan.beside:
        from orchestrator.ingest.beside import left_out

        print(f"left out    {left_out(plan.beside)}: what belongs to the images, and none of them")
    if plan.candidates:
        print(f"candidates  {plan.candidates}, {counted(config.score.draws, 'draw')} each")
    if config.cohort.budget is not None:
        print(f"budget      {counted(config.cohort.budget, 'iteration')} for an image by each arm")
    for arm in plan.arms:
        print(f"arm         {_arm(arm, config)}{_paid(arm, config)}")
    for name, learnt in _learnt_on(plan):
        print(f"            {name}: its networks were learnt on {printable(learnt)}: no test of them")
    if plan.tiles:
        most = max(plan.tilings.values(), key=lambda tiling: len(tiling.tiles))
        tile = most.tiles[0].of_restored(config.task.scale)
        cut = counted(len(plan.tilings), "image") + (" is" if len(plan.tilings) == 1 else " are")
        print(f"tiles       {plan.tiles}: {cut} cut, into tiles of {tile.width}x{tile.height} pixels at most")
    print(f"trials      at most {plan.trials}; arms share the fits that they have in common")
    print(f"store       {store.url}, at most {size_of(forecast.store_bytes)} more")
    where = "CPU" if expected.device == "cpu" else "GPU" if expected.parallel == 1 else f"{expected.parallel} GPUs"
    print(
        f"time        at most {duration(expected.seconds)} on this machine's {where},"
        f" {counted(expected.parallel, 'trial')} at a time"
        f" (scoring {duration(expected.score_seconds / expected.parallel)}); fits usually stop earlier"
    )
    hours, price = config.resources.hours, config.resources.price_per_hour
    if price is not None:
        cost = f"{expected.cost(price):.2f} for {expected.seconds / 3600:.3g} machine hours at {price:g}"
        print(f"cost        at most {cost} (resources.price_per_hour)")
    if hours is not None:
        print(f"hours       the run ends after {hours:g} machine hours, with what is finished (resources.hours)")
    print("nothing was run")
