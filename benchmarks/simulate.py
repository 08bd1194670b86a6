"""Histories of a run in a simulated world: `python -m benchmarks.simulate --seeds 1000000`.

Every seed is a history of drivers that are killed, stopped, suspended and cut off, with a store that is slow, loses
answers and lists late (`tests.simulation`). The laws that must hold are those of `tests.simulation.laws`. The history
of a seed that breaks one is printed; `--seeds 1 --seed0 SEED --show` prints any other.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator

from benchmarks.common import print_table
from tests.simulation.history import History, history_of

_CHUNK = 20
_SHOWN = 5


def _histories(seeds: range, processes: int) -> Iterator[History]:
    if processes == 1:
        yield from map(history_of, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(history_of, seeds, _CHUNK)


def main() -> int:
    """Run them; the exit status is 1 if a law was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000, help="how many histories (default: 1000)")
    parser.add_argument("--seed0", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end after so many (default: never)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: a process for each CPU")
    parser.add_argument("--show", action="store_true", help="print every history")
    options = parser.parse_args()
    started = time.monotonic()
    done = drivers = fits = bad = 0
    simulated = 0.0
    for history in _histories(range(options.seed0, options.seed0 + options.seeds), options.processes):
        done += 1
        drivers += history.drivers
        fits += history.fits
        simulated += history.seconds
        bad += bool(history.mistakes)
        if options.show or (history.mistakes and bad <= _SHOWN):
            print(history, flush=True)
        if time.monotonic() - started > 60 * options.minutes:
            break
    minutes = (time.monotonic() - started) / 60
    print_table(
        ["histories", "simulated hours", "drivers", "attempts at fits", "laws broken", "minutes", "histories a minute"],
        [
            [
                f"{done:,}",
                f"{simulated / 3600:,.0f}",
                f"{drivers:,}",
                f"{fits:,}",
                str(bad),
                f"{minutes:.1f}",
                f"{done / minutes:,.0f}",
            ]
        ],
    )
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
