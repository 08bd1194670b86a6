"""Restore a folder of images."""

import argparse
from functools import partial

from orchestrator import api
from orchestrator.cli.driving import carry_out, check_json, name_run, print_request
from orchestrator.cli.options import add_images, add_settings, add_task, add_where, what_of

EXAMPLES = """\
examples:
  python -m orchestrator submit --images photos/ --dry-run              (--json: for programs)
  python -m orchestrator submit --images clean/ --simulate --sigma 25
  python -m orchestrator submit --images scans/ --task inpaint --masks holes/
  python -m orchestrator submit --images shaken/ --task deblur --kernel "motion 9 45" --effort standard
  python -m orchestrator submit --images photos/ --config mine.yaml --set cohort.size=30
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_images(parser, simulate=True)
    add_task(parser, default="denoise")
    add_settings(parser, without="what suits the machine; the plan says which and why", arms=True)
    add_where(parser)


def act(options: argparse.Namespace) -> int:
    """Plan, and carry the plan out."""
    check_json(options)
    name_run(options)
    what = what_of(options)
    if options.dry_run:
        request = api.submission(options.images, simulate=options.simulate, arms=options.arms, **what)
        print_request(request, options.config, as_json=options.json)
        return 0
    return carry_out(options, partial(api.submit, options.images, simulate=options.simulate, arms=options.arms, **what))
