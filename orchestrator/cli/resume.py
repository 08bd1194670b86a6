"""Resume a run that was interrupted, cancelled or lost, from the store alone."""

import argparse
from functools import partial

from orchestrator import api
from orchestrator.cli.common import store_of
from orchestrator.cli.driving import carry_out
from orchestrator.cli.options import add_assignments, add_trust, add_where
from orchestrator.errors import UserMistakeError
from orchestrator.run.attempt import RunState, latest
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import read_run

EXAMPLES = """\
examples:
  python -m orchestrator resume RUN
  python -m orchestrator resume RUN --set resources.parallel=2 --address auto
  python -m orchestrator resume RUN --retry-failed             # also do images again that have no result
  python -m orchestrator resume RUN --images photos/           # it ended before all of them were in the store
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")
    add_assignments(
        parser, "another value for a setting that changes no result, such as resources.parallel; repeatable"
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="give images without a result another try, and with --images also files that could not be read",
    )
    section = parser.add_argument_group("trust", "what the run's record may not decide by itself; SECURITY.md")
    section.add_argument(
        "--images", metavar="DIR", help="the folder of the run's images, which is read if the store lacks some of them"
    )
    section.add_argument("--references", metavar="DIR", help="with --images: the references that it was begun with")
    section.add_argument("--masks", metavar="DIR", help="with --images: the masks that it was begun with")
    add_trust(section, "import the code and read the folders that the run's record names")
    add_where(parser)
    # The version of the machine that handed the run to this cluster (`orchestrator.drive.handover`).
    parser.add_argument("--submitted-by", metavar="VERSION", help=argparse.SUPPRESS)
    # The claim after which it was handed over: it may have been cancelled before its driver could begin.
    parser.add_argument("--after", type=int, metavar="CLAIM", help=argparse.SUPPRESS)


def act(options: argparse.Namespace) -> int:
    """Do the remaining work."""
    store = store_of(options)

    from orchestrator.run.versions import project_version

    if options.submitted_by not in (None, project_version()):
        raise UserMistakeError(
            f"the run was submitted by dip-orchestrator {options.submitted_by}, and this machine has"
            f" {project_version()}: install the same on both, or submit with --ship-code"
        )

    layout = RunLayout(options.run)
    changed = options.after is not None and latest(store, layout) > options.after
    if changed and read_run(store, options.run).state is RunState.CANCELLED:
        raise UserMistakeError(f"the run {options.run} was cancelled before this driver began")

    names = ("store", "images", "references", "masks", "trust", "retry_failed")
    given = {name: getattr(options, name) for name in names}
    return carry_out(options, partial(api.resume, options.run, settings=options.assignments, **given))
