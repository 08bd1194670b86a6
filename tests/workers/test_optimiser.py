import subprocess
import sys

import torch

from workers.optimiser import adam


def test_it_takes_the_steps_of_pytorchs_own() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(7, 5, generator=generator)
    ours, theirs = (start.clone().requires_grad_() for _ in range(2))
    optimisers = adam([ours], 0.01), torch.optim.Adam([theirs], lr=0.01, fused=True)
    for step in range(30):
        for parameter, optimiser in zip((ours, theirs), optimisers, strict=True):
            optimiser.zero_grad(set_to_none=True)
            (parameter.sin() * (step + 1)).square().sum().backward()
            optimiser.step()
        assert torch.equal(ours, theirs)
    # A checkpoint of one is a checkpoint of the other.
    again = start.clone().requires_grad_()
    third = adam([again], 0.01)
    third.load_state_dict(optimisers[1].state_dict())
    assert third.state_dict()["param_groups"] == optimisers[1].state_dict()["param_groups"]
    assert torch.equal(third.state[again]["exp_avg"], optimisers[1].state[theirs]["exp_avg"])


def test_a_fit_does_not_import_the_compiler() -> None:
    code = (
        "import sys, numpy as np\n"
        "from workers import restore\n"
        "from workers.restoration import FitSettings\n"
        "image = np.random.default_rng(0).random((3, 64, 64), dtype=np.float32)\n"
        "restore(image, network='dip', width=8, settings=FitSettings(iterations=2))\n"
        "dear = {'torch._dynamo', 'torch._inductor', 'sympy', 'scipy'}\n"
        "assert not dear & set(sys.modules), dear & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
