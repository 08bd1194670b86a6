"""Go on with a run that was interrupted, cancelled or lost: from the store alone, where it was."""

import argparse

from orchestrator.cli.common import store_of
from orchestrator.cli.submit import EXIT_SOME_FAILED, carry_out
from orchestrator.results import RowState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="assignments",
        help="another value for a setting that changes no result, such as resources.parallel; repeatable",
    )
    parser.add_argument("--no-dashboard", action="store_true", help="do not start Ray's dashboard")


def act(options: argparse.Namespace) -> int:
    """Do what is left."""
    store = store_of(options)

    from orchestrator.plan import resume_plan

    plan = resume_plan(store, options.run, options.assignments)
    outcome = carry_out(plan, store, dashboard=not options.no_dashboard)
    if plan.command == "study":
        from orchestrator.cli.study import conclude

        conclude(plan, outcome, store)
    return 0 if all(row.state is RowState.RESTORED for row in outcome.rows) else EXIT_SOME_FAILED
