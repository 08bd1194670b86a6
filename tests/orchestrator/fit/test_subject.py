from dataclasses import replace

import pytest
import torch

from orchestrator.fit.subject import prior_subject
from tests.orchestrator.conftest import CANDIDATES, Encoded, MakeBench, MakeConfig
from workers.names import PriorName


@pytest.mark.parametrize(("rules", "alike"), [(2, False), (3, True)])
def test_a_part_and_the_whole_begin_with_the_same_weights(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, rules: int, *, alike: bool
) -> None:
    bench = make_bench(make_config(), encoded())
    image, name = replace(bench.image, rules=rules), PriorName(CANDIDATES[0])
    crop, full, small = (prior_subject(bench.context, image, view, name) for view in ("crop", "full", "downscale"))
    assert (crop.seed == full.seed == small.seed) == alike
    pairs = zip(crop.network.parameters(), full.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs) == alike
    # Other networks, images and runs have their own.
    others = [
        prior_subject(bench.context, image, "crop", PriorName(CANDIDATES[1])),
        prior_subject(bench.context, replace(image, id="another"), "crop", name),
    ]
    assert len({crop.seed, *(other.seed for other in others)}) == 3
