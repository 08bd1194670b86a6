"""Print the script with which a shell completes the command dip-orchestrator."""

import argparse
from collections.abc import Iterator

_PROGRAM = "dip-orchestrator"
EXAMPLES = """\
examples:
  eval "$(dip-orchestrator completion bash)"                        in ~/.bashrc
  dip-orchestrator completion zsh > ~/.zfunc/_dip-orchestrator      with fpath+=~/.zfunc before compinit, in ~/.zshrc

dip-orchestrator is the same program as python -m orchestrator.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell")


def act(options: argparse.Namespace) -> int:
    """Print it."""
    import shtab

    parser: argparse.ArgumentParser = options.parser
    parser.prog = _PROGRAM
    for action in _actions(parser):
        if action.metavar in ("DIR", "FILE"):
            # shtab reads the kind of completion from an attribute of its own.
            action.complete = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, options.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All options of a parser, and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
