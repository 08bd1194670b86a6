import csv
import gc
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from workers.networks import SearchNetwork, build
from workers.seeds import generator_of
from workers.space import Candidate, InvalidCandidateError, upsamplers, valid_upsamplers

FORWARD_CASES = json.loads((Path(__file__).parent.parent / "data" / "forward_width8.json").read_text())


def load_reference_weights(network: SearchNetwork, case: str, arrays: dict[str, np.ndarray]) -> None:
    """Fill the network with the weights keyed ``case/block/n.kind.parameter``, n in order of execution in the block."""
    for name, block in network.blocks.items():
        layers = [layer for layer in block.modules() if list(layer.parameters(recurse=False))]
        for n, layer in enumerate(layers):
            kinds = {nn.Conv2d: "conv", nn.ConvTranspose2d: "transposed", nn.BatchNorm2d: "bn"}
            kind = next(kind for base, kind in kinds.items() if isinstance(layer, base))
            for parameter_name, parameter in layer.named_parameters(recurse=False):
                parameter.data = torch.from_numpy(arrays[f"{case}/{name}/{n}.{kind}.{parameter_name}"])


@pytest.mark.parametrize("case", FORWARD_CASES, ids=lambda case: case["case"])
def test_the_output_agrees_with_the_reference_network(case: dict[str, object], data: Path) -> None:
    arrays = dict(np.load(data / "forward_width8.npz"))
    network = build(Candidate(int(case["upsampler"]), str(case["skips"])), width=int(case["width"]))
    load_reference_weights(network, str(case["case"]), arrays)
    with torch.no_grad():
        output = network(torch.from_numpy(arrays[f"{case['case']}/input"])[None])[0]
    np.testing.assert_allclose(output.numpy(), arrays[f"{case['case']}/output"], atol=1e-5)


def test_declared_parameters_agree_with_the_reference_counts(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.BatchNorm2d):
        monkeypatch.setattr(layer, "reset_parameters", lambda self: None)  # it takes longer than all else
    with (data / "parameter_counts.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        network = SearchNetwork(Candidate(int(row["upsampler"]), row["skips"]), 3, 3, 128)
        assert network.declared_parameters() == int(row["parameters"]), row


def test_blocks_that_no_bit_uses_are_not_built() -> None:
    bare = build(Candidate(0, "0" * 25), width=8)
    assert {name for name in bare.blocks if name.startswith("skip")} == set()
    assert sum(p.numel() for p in bare.parameters()) < bare.declared_parameters()
    full = build(Candidate(0, "1" * 25), width=8)
    assert sum(p.numel() for p in full.parameters()) == full.declared_parameters()


@pytest.mark.parametrize("upsampler", valid_upsamplers())
def test_every_valid_cell_runs_and_every_weight_receives_a_gradient(upsampler: int) -> None:
    # Level 2 takes the input down one scale and encoder level 2 up one, so that both kinds of chain are exercised.
    candidate = Candidate(upsampler, "1000010110000000000000000")
    network = build(candidate, in_channels=2, out_channels=1, width=upsamplers()[upsampler].width_multiple)
    output = network(torch.rand(1, 2, 64, 64, generator=generator_of("test")) * 0.1)
    assert output.shape == (1, 1, 64, 64)
    output.mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_same_generator_gives_the_same_weights_whatever_the_global_state() -> None:
    candidate = Candidate.parse("158-1111101111001110001100001")
    torch.manual_seed(1)
    first = build(candidate, width=8, generator=generator_of("weights", 7))
    torch.manual_seed(2)
    second = build(candidate, width=8, generator=generator_of("weights", 7))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_fresh_weights_follow_pytorchs_default_distribution() -> None:
    network = build(Candidate(9, "1" * 25), width=64, generator=generator_of("weights"))
    layer = network.blocks["enc2"][0]
    reference = nn.Conv2d(64, 64, 3)
    bound = reference.weight.abs().max().item()
    assert layer.weight.abs().max().item() == pytest.approx(bound, rel=1e-2)
    assert layer.weight.std().item() == pytest.approx(reference.weight.std().item(), rel=2e-2)
    assert layer.bias.abs().max().item() <= (64 * 9) ** -0.5


@pytest.mark.parametrize("shape", [(32, 64), (64, 80), (0, 64)])
def test_a_side_the_network_cannot_halve_five_times_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        build(Candidate(0, "0" * 25), width=4)(torch.zeros(1, 3, *shape))


def test_a_width_the_cell_cannot_cut_is_refused() -> None:
    with pytest.raises(InvalidCandidateError, match="multiple of 16"):
        build(Candidate(213, "0" * 25), width=8)


def test_a_forward_pass_leaves_nothing_behind_for_the_garbage_collector() -> None:
    network = build(Candidate(0, "1" * 25), width=4, generator=generator_of("weights"))
    x = torch.rand(1, 3, 64, 64, generator=generator_of("input"))
    gc.collect()
    gc.disable()
    try:
        network(x).mean().backward()
        before = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        for _ in range(3):
            network(x).mean().backward()
        assert sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()) == before
    finally:
        gc.enable()
