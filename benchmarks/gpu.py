"""The performance of one GPU for a fit, and for a cohort of 15: speed, the cost of reduced
precision in quality, and memory.

    python -m benchmarks.gpu --out gpu                            # on a large GPU, some 15 minutes
    python -m benchmarks.gpu --device cpu --tiny --out gpu        # only to see that it runs

Ways of running a fit have names of words, such as ``graph bf16 tuned``; `benchmarks.gpu_step` explains them. All
networks have 128 channels at every scale, all images three, with noise of sigma 25; a twentieth of the pixels is held
out.

Tables are printed, and kept with every digit in ``gpu.json`` in the folder `--out`, line by line as they come. Sections
that the file has are not measured again. After `--minutes` nothing new is begun: the current section ends there, the
others are left out.

Needs `workers`, torch, numpy, scipy and scikit-image; no Ray. Graphs need a CUDA GPU: on a CPU their steps are run one
by one.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.common import machine, table
from benchmarks.gpu_cohort import cohort
from benchmarks.gpu_common import Row, Setting, cell
from benchmarks.gpu_fits import agreement, ceilings, compiled, full_fit, memory, one_fit, scoring
from benchmarks.precision import PRECISIONS, PRIORS, compare


def quality(setting: Setting) -> Iterator[Row]:
    """The cost of reduced precision."""
    sizes = {"side": 64, "iterations": 40} if setting.tiny else {"side": 128, "iterations": 1000}
    priors, seeds = (PRIORS[:1], 1) if setting.tiny else (PRIORS, 3)
    yield from compare(priors, seeds, list(PRECISIONS), width=setting.width, device=setting.device, **sizes)


SECTIONS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "ceilings": ceilings,
    "agreement": agreement,
    "cohort": cohort,
    "one_fit": one_fit,
    "full_fit": full_fit,
    "memory": memory,
    "scoring": scoring,
    "quality": quality,
    "compiled": compiled,
}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1, as in a run)")
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.json")
    parser.add_argument("--minutes", type=float, default=30, help="for all sections together (default 30)")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument(
        "--image", type=Path, help="a clean RGB picture for the fit in full (default: scikit-image's astronaut)"
    )
    parser.add_argument("--tiny", action="store_true", help="small networks and few iterations, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    setting = Setting(options.device, options.tiny, options.image)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "gpu.json"
    kept = json.loads(file.read_text()) if file.exists() else {"sections": {}, "seconds": {}}
    kept["machine"] = machine(options.device, options.threads)
    print(f"{kept['machine']}; width {setting.width}, RGB\n", flush=True)
    wanted = [name for name in options.sections if name not in kept["sections"]]
    ends = time.monotonic() + 60 * options.minutes
    for name in wanted:
        began = time.monotonic()
        if began > ends:
            print(f"{name}: left out, the time is over\n")
            continue
        rows = kept["sections"][name] = []
        try:
            for row in SECTIONS[name](setting):
                rows.append(row)
                kept["seconds"][name] = round(time.monotonic() - began, 1)
                file.write_text(json.dumps(kept, indent=1) + "\n")
                if time.monotonic() > ends:
                    break
        except RuntimeError as error:
            rows.append({"failed": str(error)[:200]})
        print(f"{name}: {kept['seconds'].get(name, 0)} s\n")
        if rows:
            header = list(dict.fromkeys(head for row in rows for head in row))
            print(table(header, [[cell(row.get(head)) for head in header] for row in rows]), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
