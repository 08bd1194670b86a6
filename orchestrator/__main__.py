"""``python -m orchestrator``."""

import contextlib
import os
import sys


def leave_out_the_working_directory() -> None:
    """Import no module from the working directory, which ``python -m`` puts before all other places.

    A store or somebody's images may be there, and whoever writes there must not run code here. A checkout that is not
    installed is imported from there, so it stays.
    """
    with contextlib.suppress(OSError):  # the folder may have been deleted
        here = os.getcwd()  # noqa: PTH109 - pathlib would be imported from there
        package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
        if not sys.flags.safe_path and sys.path[:1] == [here] and here != package:
            del sys.path[0]


if __name__ == "__main__":
    leave_out_the_working_directory()

from orchestrator.cli import main  # noqa: E402 - the places of modules are known only now

if __name__ == "__main__":
    sys.exit(main())
