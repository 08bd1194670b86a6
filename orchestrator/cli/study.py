"""Fit every candidate on every image and find the best predictors. This is for researchers; it takes long."""

import argparse
from functools import partial

from orchestrator import api
from orchestrator.cli.driving import carry_out, check_json, name_run, print_request
from orchestrator.cli.options import add_images, add_settings, add_task, add_where, what_of

EXAMPLES = """\
examples:
  python -m orchestrator study --images clean/ --candidates isnas522 --run nas
  python -m orchestrator study --images clean/ --candidates 20 --sigma 25 --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_images(parser, simulate=False)
    parser.add_argument(
        "--candidates",
        required=True,
        metavar="FILE",
        help="the candidates: a CSV file of ids, the name of a list that ships (isnas522), or a number of random ones",
    )
    add_task(parser, default="denoise")
    add_settings(parser, without="what suits the machine; the plan says which and why")
    add_where(parser)


def act(options: argparse.Namespace) -> int:
    """Run or resume the fits, and put the figures together."""
    check_json(options)
    name_run(options)
    what = what_of(options)
    if options.dry_run:
        request = api.study_request(options.images, candidates=options.candidates, **what)
        print_request(request, options.config, as_json=options.json)
        return 0
    return carry_out(options, partial(api.study, options.images, candidates=options.candidates, **what))
