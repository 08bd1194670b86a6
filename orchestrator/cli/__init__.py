"""The command line: a command per file, and the only place that prints.

Exit status: 0 all well, 1 some images have no result, 2 a mistake or trouble that the message names, 130 interrupted or
cancelled.
"""

import argparse
import sys
from collections.abc import Sequence

from orchestrator.cli import (
    cancel,
    completion,
    doctor,
    evaluate,
    logs,
    results,
    resume,
    runs,
    status,
    study,
    submit,
    watch,
)
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
    "doctor": doctor,
    "completion": completion,
}
EXIT_MISTAKE = 2
_EXAMPLES = """\
examples:
  python -m orchestrator submit --images photos/ --dry-run     what would be done, and how long it would take
  python -m orchestrator submit --images photos/               restore them
  python -m orchestrator results RUN                           a row for each image
  python -m orchestrator submit --help                         all options, in sections

In Python: import orchestrator; run = orchestrator.submit("photos/")
"""
EXIT_INTERRUPTED = 130


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
        command.add_argument("--store", help="where everything is kept (default: $DIP_STORE, else ./dip-store)")
        command.add_argument("--debug", action="store_true", help="show the traceback of a mistake")
        module.add_arguments(command)
        # `completion` reads the parser itself.
        command.set_defaults(act=module.act, parser=parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        status: int = options.act(options)
    except OrchestratorError as error:
        if options.debug:
            raise
        print(f"{options.command}: {error}", file=sys.stderr)
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        if options.debug:
            raise
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has enough of it (`results ... | head`); Python would complain once more at exit.
        sys.stderr.close()
        return 0
    return status
