"""Go on with a run that was interrupted, cancelled or lost: from the store alone, where it was."""

import argparse
from functools import partial

from orchestrator.cli.common import add_assignments, store_of
from orchestrator.cli.driving import add_where, carry_out
from orchestrator.errors import UserMistakeError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")
    add_assignments(
        parser, "another value for a setting that changes no result, such as resources.parallel; repeatable"
    )
    add_where(parser)
    # The version of whoever has handed the run to this cluster (`orchestrator.remote`).
    parser.add_argument("--submitted-by", metavar="VERSION", help=argparse.SUPPRESS)


def act(options: argparse.Namespace) -> int:
    """Do what is left."""
    store = store_of(options)

    from orchestrator.versions import project_version

    if options.submitted_by not in (None, project_version()):
        raise UserMistakeError(
            f"the run was submitted by dip-orchestrator {options.submitted_by}, and this machine has {project_version()}:"
            " install the same on both, or submit with --ship-code"
        )

    from orchestrator.plan import resume_plan

    return carry_out(options, store, partial(resume_plan, store, options.run, options.assignments))
