"""Learn portfolios from tables of fits, show them, and write them."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.common import store_of
from orchestrator.cli.shown.units import decibels
from orchestrator.errors import NotFoundError, UserMistakeError
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import check_run_name
from orchestrator.text import counted, printable

if TYPE_CHECKING:
    from orchestrator.figures.learnt import Model
    from orchestrator.figures.portfolio import Learnt, PastFit

_NETWORKS = 6


def learn_and_show(options: argparse.Namespace) -> int:
    """Learn the lists of ``--portfolio``; returns the exit status.

    Raises:
        UserMistakeError: a table is missing or holds something else, or the lists cannot be written.
    """
    from orchestrator.figures.learnt import FEWEST_FITS, FEWEST_IMAGES, learn_models
    from orchestrator.figures.portfolio import learn

    if options.networks is not None and options.networks < 1:
        raise UserMistakeError("--networks: one at least")
    price = options.price or 0.0
    if not 0 <= price < math.inf:
        raise UserMistakeError("--price: a number of dB, 0 or more")
    left_out = {name.strip() for name in (options.leave_out or "").split(",") if name.strip()}
    fits = [fit for table in options.portfolio for fit in _fits(options, table)]
    unknown = sorted(left_out - {fit.image for fit in fits})
    if unknown:
        raise UserMistakeError(f"--leave-out: the tables have no picture {', '.join(map(printable, unknown))}")
    kept = [fit for fit in fits if fit.image not in left_out]
    lists = learn(kept, size=options.networks or _NETWORKS, price=price)
    for each in lists:
        _show(each)
    models = learn_models(kept)
    for model in models:
        print(f"learnt, {model.task}: tau {model.tau:+.2f} with the held-out error of pictures that were left out")
    if not models:
        print(f"learnt           nothing: fewer than {FEWEST_FITS} fits of candidates on {FEWEST_IMAGES} pictures")
    if options.output is not None:
        _write(Path(options.output), lists, models, options)
    return 0


def _fits(options: argparse.Namespace, table: str) -> "list[PastFit]":
    from orchestrator.figures.portfolio import read_fits

    sigma = options.sigma if isinstance(options.sigma, float) else None
    try:
        data = Path(table).read_bytes() if Path(table).is_file() else None
    except OSError as error:
        raise UserMistakeError(f"--portfolio {table}: {error.strerror or error}") from None
    if data is None:
        key = RunLayout(check_run_name(table)).study("table.parquet")
        try:
            data = store_of(options).get(key)
        except NotFoundError:
            raise UserMistakeError(
                f"--portfolio {table}: there is no such file, and no such study in this store; give a Parquet file, or"
                " the name of a finished study"
            ) from None
    return read_fits(data, f"--portfolio {printable(table)}", task=options.task, sigma=sigma)


def _show(learnt: "Learnt") -> None:
    noise = "" if learnt.noise is None else f", noise {learnt.noise[0]:g} to {learnt.noise[1]:g}"
    print(f"{learnt.task}{noise}: {counted(learnt.fits, 'fit')} of {counted(len(learnt.images), 'picture')}")
    for place, (name, gain) in enumerate(learnt.networks):
        print(f"  {place + 1:>2}  {name:<45} {gain:+.2f} dB")
    if learnt.left_out:
        picks = "  ".join(f"{count}: {decibels(psnr)}" for count, psnr in enumerate(learnt.left_out, 1))
        print(f"  pick among the first, each picture by the list of the others   {picks}")
    print(f"  the best network of each picture   {decibels(learnt.best)}")


def _write(path: Path, lists: "Sequence[Learnt]", models: "Sequence[Model]", options: argparse.Namespace) -> None:
    import yaml

    from orchestrator.figures.learnt import models_to_plain
    from orchestrator.figures.portfolio import to_plain

    words = ["study", "--portfolio", *options.portfolio]
    words += ["--leave-out", options.leave_out] if options.leave_out else []
    words += ["--networks", str(options.networks)] if options.networks else []
    words += ["--price", str(options.price)] if options.price else []
    source = f"python -m orchestrator {' '.join(map(printable, words))}"
    head = (
        "# Networks in the order in which the arm `portfolio` takes them (docs/arms.md). gain: what a network adds\n"
        "# to the mean of the best PSNR, in dB. left_out: PSNR of the pick among the first 1, 2, ..., each picture by\n"
        "# the list that is learnt on the others. best: PSNR of each picture's best network.\n"
    )
    table = to_plain(lists, source) | ({"learnt": models_to_plain(models)} if models else {})
    text = yaml.safe_dump(table, sort_keys=False, default_flow_style=None, width=110)
    try:
        path.write_text(head + text, encoding="utf-8")
    except OSError as error:
        raise UserMistakeError(f"--output {path}: {error.strerror or error}") from None
    print(f"portfolio        {path}")
