"""The command line: a command per file, and the only place that prints.

`orchestrator.cli.exits` has the exit statuses.
"""

import argparse
import contextlib
import sys
import traceback
from collections.abc import Sequence

from orchestrator.cli import (
    cancel,
    completion,
    delete,
    doctor,
    evaluate,
    export,
    import_run,
    logs,
    prune,
    results,
    resume,
    runs,
    status,
    study,
    submit,
    verify,
    watch,
)
from orchestrator.cli.exits import Exit, exit_of_error
from orchestrator.cli.screen import open_streams
from orchestrator.errors import OrchestratorError
from orchestrator.version import __version__

COMMANDS = {
    "submit": submit,
    "study": study,
    "evaluate": evaluate,
    "resume": resume,
    "status": status,
    "watch": watch,
    "logs": logs,
    "cancel": cancel,
    "runs": runs,
    "results": results,
    "delete": delete,
    "prune": prune,
    "verify": verify,
    "export": export,
    "import": import_run,
    "doctor": doctor,
    "completion": completion,
}
_EXAMPLES = """\
examples:
  python -m orchestrator submit --images photos/ --dry-run     what would be done, and how long it would take
  python -m orchestrator submit --images photos/               restore them
  python -m orchestrator results RUN                           a row for each image
  python -m orchestrator submit --help                         all options, in sections

exit status:
  0 done; 2 a mistake, which a line names; 65 finished, but some images have no result; 69 the run's machine hours are
  spent, and `resume` with more of them goes on with it; 70 the run or the program failed; 74 `verify` found damage;
  75 the run is paused, and `resume` goes on with it; 78 `doctor` found something; 130 interrupted or cancelled

In Python: import orchestrator; run = orchestrator.submit("photos/")
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator",
        description="Restore images without training data: for every image, find the untrained network that suits it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dip-orchestrator {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            epilog=getattr(module, "EXAMPLES", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if module is not completion:
            command.add_argument("--store", help="where everything is kept (default: $DIP_STORE, else ./dip-store)")
        command.add_argument("--debug", action="store_true", help="show the traceback of a mistake")
        module.add_arguments(command)
        # `completion` reads the parser itself.
        command.set_defaults(act=module.act, parser=parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    open_streams()
    options = build_parser().parse_args(arguments)
    try:
        status: int = options.act(options)
        sys.stdout.flush()
    except OrchestratorError as error:
        if options.debug:
            _tell(traceback.format_exc())
        _tell(f"{options.command}: {error}")
        return exit_of_error(error)
    except KeyboardInterrupt:
        if options.debug:
            _tell(traceback.format_exc())
        return Exit.STOPPED
    except BrokenPipeError:
        # The reader of our output has enough of it (`results ... | head`); Python would complain once more at exit.
        sys.stderr.close()
        return Exit.DONE
    except Exception:
        _tell(f"{traceback.format_exc()}\n{options.command}: this is a fault of the program; please report it")
        return Exit.FAILED
    return status


def _tell(message: str) -> None:
    """Say why a command ends; if it cannot be said, the status says it alone."""
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)
