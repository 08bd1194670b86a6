from typing import Any

import pytest

from orchestrator.arms.lottery import chains_of, finds_apart, rounds_of
from orchestrator.arms.resolve import arms_of
from orchestrator.run.layout import TOGETHER
from tests.orchestrator.arms.given import LOTTERIES
from tests.orchestrator.conftest import MakeConfig
from workers.names import Chain

MOVED = {"name": "moved", "like": "lottery-imp", "source": "f16-5fb2ac1e"}


def test_a_lottery_has_a_chain_for_every_initialisation_and_those_of_its_dense_networks_first(
    make_config: MakeConfig,
) -> None:
    lottery = {"initialisations": 2, "rounds": 3}
    config = make_config(arms=LOTTERIES, lottery=lottery)
    chains = {arm.name: [str(chain) for chain in chains_of(config, arm, "dip")] for arm in arms_of(config)}
    dense = ["dip.dense.0", "dip.dense.1"]
    assert chains == {
        "lottery-imp": [*dense, "dip.imp.0", "dip.imp.1"],
        "lottery-random": [*dense, "dip.random.0", "dip.random.1"],
        "lottery-snip": [*dense, "dip.snip.0", "dip.snip.1"],
        "lottery-oes": [*dense, "dip.oes.0", "dip.oes.1"],
        "lottery-dense": dense,
        "lottery-decoder": ["dip.decoder.0", "dip.decoder.1"],
    }
    assert [arm.size for arm in arms_of(config)] == [4, 4, 4, 4, 2, 2]


def test_masks_from_elsewhere_have_a_source_and_no_dense_networks_of_their_own(make_config: MakeConfig) -> None:
    lottery = {"initialisations": 2, "tickets": "earlier"}
    config = make_config(arms=[MOVED], lottery=lottery)
    (arm,) = arms_of(config)
    assert (arm.source, arm.size) == ("f16-5fb2ac1e", 2)
    assert [str(chain) for chain in chains_of(config, arm, "dip")] == [f"dip.imp.{n}.f16-5fb2ac1e" for n in (0, 1)]


def test_what_looks_at_images_finds_one_mask_for_all_of_them_together(make_config: MakeConfig) -> None:
    config = make_config(arms=LOTTERIES, lottery={"together": True, "initialisations": 1})
    sources = {arm.name: arm.source for arm in arms_of(config)}
    assert sources == dict.fromkeys(LOTTERIES) | dict.fromkeys(["lottery-imp", "lottery-snip", "lottery-oes"], TOGETHER)
    for arm in arms_of(config):
        names = [str(chain) for chain in chains_of(config, arm, "dip")]
        own = f"dip.{arm.method}.0"
        if arm.method in ("dense", "decoder"):
            assert names == [own]
        else:
            assert names == ["dip.dense.0", f"{own}.{TOGETHER}" if arm.source else own]
        assert arm.size == len(names)


def test_the_rounds_of_a_chain_are_all_or_those_asked_for(make_config: MakeConfig) -> None:
    every = make_config(lottery={"rounds": 3})
    some = make_config(lottery={"rounds": 9, "fit_rounds": [9, 4]})
    for method, own, asked in (("dense", [0], [0]), ("imp", [1, 2, 3], [9, 4]), ("decoder", [1, 2, 3], [9, 4])):
        chain = Chain("dip", method, 0)  # type: ignore[arg-type]
        assert (rounds_of(every, chain), rounds_of(some, chain)) == (own, asked)


@pytest.mark.parametrize(
    ("method", "source", "lottery", "apart"),
    [
        ("imp", None, {}, False),
        ("imp", None, {"target": "clean"}, True),
        ("imp", None, {"together": True}, True),
        ("imp", "f16-5fb2ac1e", {}, True),
        ("random", None, {}, True),
        ("snip", None, {}, True),
        ("oes", None, {}, True),
        ("dense", None, {}, True),
        ("decoder", None, {}, True),
    ],
)
def test_only_magnitudes_of_the_fits_themselves_are_found_with_them(
    make_config: MakeConfig, method: Any, source: str | None, lottery: dict[str, Any], apart: bool
) -> None:
    assert finds_apart(make_config(lottery=lottery), Chain("dip", method, 0, source)) is apart
