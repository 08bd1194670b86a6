"""Fit every candidate on every image and find the best predictors, or learn a portfolio from such fits.

This is for researchers; it takes long.
"""

import argparse
from functools import partial

from orchestrator import api
from orchestrator.cli.driving import carry_out, check_json, name_run, print_request
from orchestrator.cli.options import add_images, add_settings, add_task, add_where, what_of
from orchestrator.errors import UserMistakeError

EXAMPLES = """\
examples:
  python -m orchestrator study --images clean/ --candidates isnas522 --run nas
  python -m orchestrator study --images clean/ --candidates 20 --sigma 25 --dry-run
  python -m orchestrator study --portfolio nas more.parquet --leave-out cat,coffee --output mine.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_images(parser, simulate=False, required=False)
    parser.add_argument(
        "--candidates",
        metavar="FILE",
        help="the candidates: a CSV file of ids, the name of a list that ships (isnas522), or a number of random ones",
    )
    section = parser.add_argument_group(
        "portfolio", "learn the arm portfolio's lists from finished fits, in seconds; docs/arms.md"
    )
    section.add_argument(
        "--portfolio",
        nargs="+",
        metavar="TABLE",
        help="tables of fits: studies of this store by their run's name, or Parquet files with the columns image,"
        " candidate, psnr, and if they are known task, sigma, held_out_error, multiply_adds",
    )
    section.add_argument("--output", metavar="FILE", help="where the lists go (YAML); without it they are only shown")
    section.add_argument(
        "--leave-out", metavar="A,B", help="pictures that nothing is learnt from, so that a test may use them"
    )
    section.add_argument("--networks", type=int, metavar="N", help="the most networks of a list (default: 6)")
    section.add_argument(
        "--price",
        type=float,
        metavar="DB",
        help="how many dB more a network of average cost must gain than one for nothing; dearer ones in proportion"
        " (default: 0)",
    )
    add_task(parser, default="denoise; of --portfolio, that of the table")
    add_settings(parser, without="what suits the machine; the plan says which and why")
    add_where(parser)


def act(options: argparse.Namespace) -> int:
    """Run or resume the fits and put the figures together, or learn from finished ones."""
    if options.portfolio:
        from orchestrator.cli.shown.portfolio import learn_and_show

        return learn_and_show(options)
    if options.images is None or options.candidates is None:
        raise UserMistakeError("give --images and --candidates, or --portfolio to learn from finished fits")
    given = {
        "--output": options.output,
        "--leave-out": options.leave_out,
        "--networks": options.networks,
        "--price": options.price,
    }
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise UserMistakeError(f"{', '.join(wrong)}: goes with --portfolio")
    check_json(options)
    name_run(options)
    what = what_of(options)
    if options.dry_run:
        request = api.study_request(options.images, candidates=options.candidates, **what)
        print_request(request, options.config, as_json=options.json)
        return 0
    return carry_out(options, partial(api.study, options.images, candidates=options.candidates, **what))
