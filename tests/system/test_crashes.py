"""Fits that crash their workers: retried a limited number of times, then failed with their
reason; the image goes on.
"""

import json
from pathlib import Path

from tests.system.conftest import TINY, CommandLine, save_rgb
from tests.system.hook import write_hook

# The arms name their networks, so that each can be given its own end.
FATES = {
    "0-0000000000000000000000000": "segfault",
    "1-0000000000000000000000000": "cuda error",
    "2-0000000000000000000000000": "out of memory unless alone",
    "3-0000000000000000000000000": "out of memory",
    "4-0000000000000000000000000": "not a number",
    "5-0000000000000000000000000": "well",
}

POISON = """
import json
import os
import signal


def act(module):
    import torch

    fates = json.loads(os.environ["FATES"])
    fit = module.run_fit

    def poisoned(context, job, subject_of, *, on_progress, **options):
        fate = fates[str(job.name)]
        with open(os.environ["TRIES"], "a") as file:
            print(fate, job.view, job.alone, file=file)

        def progress(iteration, error):
            if fate == "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            if fate == "cuda error":
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            if fate == "out of memory" or (fate == "out of memory unless alone" and not job.alone):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            on_progress(iteration, error)

        return fit(context, job, subject_of, on_progress=progress, **options)

    module.run_fit = poisoned
    launch = module.Fit.launch

    def diverging(self, iterations):
        if getattr(self.network, "_poisoned", False):
            raise module.FitDivergedError("the held-out error was no longer finite within iteration 5")
        return launch(self, iterations)

    # The networks are made in the module that a fit is given its subject by.
    import orchestrator.fit.subject as subject

    prior_of = subject.prior_of

    def marked(name):
        prior = prior_of(name)

        class Marked:
            def build(self, *arguments, **options):
                network = prior.build(*arguments, **options)
                network._poisoned = fates[name] == "not a number"
                return network

        return Marked()

    module.Fit.launch, subject.prior_of = diverging, marked
"""


def test_poison_costs_the_poisoned_and_nobody_else(cli: CommandLine, tmp_path: Path) -> None:
    save_rgb(cli.folder / "noisy/a.png", noise=0.1)
    environment = write_hook(tmp_path / "hook", "orchestrator.fit.fit", POISON)
    environment |= {"FATES": json.dumps(FATES), "TRIES": str(tmp_path / "tries")}
    arm = f"arms=[{{name: mixed, like: isnas-dip-blind, networks: [{', '.join(FATES)}]}}]"
    settings = [*TINY, arm, "resources.retries=1", "keep.fits=all"]
    done = cli.run(cli.submit("--images", "noisy", "--run", "odd", settings=settings), environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = cli.rows("odd")
    assert row["state"] == "restored"
    assert FATES[row["candidate"]] in {"well", "out of memory unless alone"}

    results = (cli.folder / "dip-store/runs/odd/fits").glob("*/crop/*/result.json")
    ends = {FATES[path.parent.name]: json.loads(path.read_text()) for path in results}
    assert {fate for fate, end in ends.items() if end["state"] == "done"} == {"well", "out of memory unless alone"}
    assert "its worker process died" in ends["segfault"]["reason"]
    assert "illegal memory access" in ends["cuda error"]["reason"]
    assert "no longer finite" in ends["not a number"]["reason"]
    reason = ends["out of memory"]["reason"]
    assert reason.startswith("out of memory: fitting 64x64 pixels takes about ")
    assert " pixels would fit, or a lower network.width" in reason
    # A crash is retried once, lack of memory once more and alone, a diverged fit not at all.
    tries = (tmp_path / "tries").read_text().splitlines()
    counts = {line: tries.count(line) for line in tries if " crop " in line}
    assert counts["segfault crop False"] == counts["cuda error crop False"] == 2
    for fate in ("out of memory", "out of memory unless alone"):
        assert counts[f"{fate} crop False"] == counts[f"{fate} crop True"] == 1
    assert counts["not a number crop False"] == 1
    assert "failed: its worker process died" in done.stdout
