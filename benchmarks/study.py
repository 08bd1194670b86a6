"""The small study of docs/results.md: 32 networks on four pictures of 64 px. ``python -m benchmarks.study --store DIR``

An interrupted study continues where it was. It prints the same as `study`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.images import write_images
from orchestrator import cli
from orchestrator.settings import shipped_configs

SETTINGS = ("network.width=32", "fit.iterations=300", "fit.patience=100", "score.draws=3", "cohort.size=6")


def main() -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="where the run is kept")
    parser.add_argument("--candidates", type=int, default=32, help="how many of the list that ships (default: 32)")
    parser.add_argument("--set", action="append", default=[], dest="assignments", metavar="NAME=VALUE")
    options = parser.parse_args()
    listed = (shipped_configs() / "candidates/isnas522.csv").read_text(encoding="utf-8").splitlines()
    chosen = [line for line in listed if not line.startswith("#")][: options.candidates]
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder, "clean"), 64)
        candidates = Path(folder, "candidates.csv")
        candidates.write_text("\n".join(chosen), encoding="utf-8")
        sets = [word for assignment in (*SETTINGS, *options.assignments) for word in ("--set", assignment)]
        where = ["--images", str(Path(folder, "clean")), "--store", options.store, "--run", "study", "--no-dashboard"]
        return cli.main(["study", *where, "--candidates", str(candidates), *sets])


if __name__ == "__main__":
    sys.exit(main())
