"""Train the lottery tickets of an earlier run on other images, or for another task, and
measure how well they transfer.
"""

import argparse
from functools import partial

from orchestrator import api
from orchestrator.cli.driving import carry_out, check_json, name_run, print_request
from orchestrator.cli.options import add_images, add_settings, add_task, add_trust, add_where, what_of

EXAMPLES = """\
examples:
  python -m orchestrator evaluate --tickets tickets --images others/ --simulate
  python -m orchestrator evaluate --tickets tickets --images others/ --simulate --task inpaint --rounds all
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    section = parser.add_argument_group("tickets", "docs/lottery.md")
    section.add_argument(
        "--tickets", required=True, metavar="RUN", help="the run, in the same store, that found the tickets"
    )
    section.add_argument(
        "--rounds", metavar="N,M", help="rounds whose tickets are trained (default: the last; all: every one)"
    )
    section.add_argument(
        "--methods", metavar="A,B", help="whose tickets: imp, snip, oes (default: all of these that the run has)"
    )
    section.add_argument(
        "--sources", metavar="A,B", help="where those were found: image ids or how they begin (default: everywhere)"
    )
    add_trust(section, "import the code that the settings of that run name")
    add_images(parser, simulate=True)
    add_task(parser, default="that of that run")
    add_settings(parser, without="that run's settings")
    add_where(parser)


def act(options: argparse.Namespace) -> int:
    """Plan, and carry the plan out."""
    check_json(options)
    name_run(options)
    chosen = {name: getattr(options, name) for name in ("tickets", "rounds", "methods", "sources", "simulate", "trust")}
    what = what_of(options)
    if options.dry_run:
        request = api.evaluation(options.images, **chosen, **what)
        print_request(request, options.config or options.tickets, as_json=options.json)
        return 0
    return carry_out(options, partial(api.evaluate, options.images, **chosen, **what))
