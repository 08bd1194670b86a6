from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.run.layout import BankLayout, FitLayout, RunLayout, image_id, safe_stem, slug
from orchestrator.store import check_key
from workers.fingerprints import BankSpec
from workers.names import PriorName, chain_of, parse_name

SPEC = BankSpec(
    height=64, width=64, channels=3, input_channels=3, network_width=8, draws=1, seed=0, metrics=("psd db mse",)
)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.png", "a"),
        ("sub/b c.tar.gz", "b_c.tar"),
        ("日本.png", "image"),
        ("--x--.png", "x"),
        ("noext", "noext"),
        ("a/" + "x" * 60 + ".png", "x" * 40),
    ],
)
def test_a_stem_is_reduced_to_plain_letters(name: str, stem: str) -> None:
    assert safe_stem(name) == stem


@given(st.text(max_size=80))
def test_an_id_is_one_part_of_a_key_whatever_the_name(name: str) -> None:
    made = image_id(name, "0123456789abcdef")
    assert made.endswith("-01234567")
    assert "/" not in made
    assert made.isascii()
    assert made[0].isalnum()
    assert len(made) <= 49
    assert check_key(made) == made


def test_a_bank_is_kept_by_all_that_it_is_a_function_of() -> None:
    changed = [
        replace(SPEC, **{name: value})
        for name, value in {
            "height": 128,
            "width": 128,
            "channels": 1,
            "input_channels": 8,
            "network_width": 16,
            "draws": 2,
            "seed": 1,
            "metrics": ("task loss",),
            "operator": "other",
            "scale": 2,
            "version": SPEC.version + 1,
        }.items()
    ]
    roots = {BankLayout(spec).root for spec in [SPEC, *changed]}
    assert len(roots) == 12
    assert BankLayout(replace(SPEC)).root == BankLayout(SPEC).root


def test_a_part_of_a_bank_is_kept_by_its_candidates_in_order() -> None:
    layout = BankLayout(SPEC)
    parts = {layout.part(ids) for ids in (["1-0", "2-0"], ["2-0", "1-0"], ["1-0"], ["1-0", "2-0", "3-0"])}
    assert len(parts) == 4
    assert layout.part(("1-0", "2-0")) == layout.part(["1-0", "2-0"])
    assert all(part.startswith(f"{layout.root}/part-") and part.endswith(".npy") for part in parts)


def test_all_of_a_runs_keys_are_its_own_and_below_its_root() -> None:
    layout = RunLayout("r1")
    fit = layout.fit("i", "crop", PriorName("1-0"))
    keys = [
        layout.record,
        layout.config,
        layout.inputs,
        layout.scores("i"),
        fit.result,
        fit.arrays("a"),
        fit.arrays("b"),
        layout.claim(1).holder,
        layout.claim(1).state,
        layout.claim(1).cancel,
        layout.claim(2).holder,
        fit.checkpoint,
        fit.rung(100),
        fit.rung(200),
        layout.fit("i", "full", PriorName("1-0")).result,
        layout.fit("i", "crop", PriorName("2-0")).result,
        layout.rung("i", "arm", 100),
        layout.rung("i", "arm", 200),
        layout.rung("i", "other", 100),
        layout.pick("i", "arm"),
        layout.pick("i", "other"),
        layout.cohort("i"),
        layout.restored("arm", "pick", "sub/a.png"),
        layout.restored("arm", "mean", "sub/a.png"),
        layout.restored("arm", "spread", "sub/a.png.tif"),
        layout.restored("other", "pick", "sub/a.png"),
        layout.preview("i", "degraded"),
        layout.preview("i", "reference"),
        layout.preview("i", "restored", "arm"),
        layout.preview("i", "restored", "other"),
        layout.row("i"),
        layout.results("csv"),
        layout.results("parquet"),
        layout.comparison,
        layout.study("study.json"),
        layout.report,
        layout.report_file("results-0001.html"),
    ]
    assert len(set(keys)) == len(keys)
    for key in keys:
        assert check_key(key) == key
        assert key.startswith("runs/r1/")


def test_prefixes_hold_what_is_listed_under_them() -> None:
    layout = RunLayout("r1")
    assert layout.row("i").startswith(layout.rows + "/")
    assert layout.fit("i", "crop", PriorName("1-0")).root.startswith(layout.fits("i") + "/")
    assert FitLayout("a/b").result == "a/b/result.json"


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_slug_names_a_chain_s_source_and_ids_that_differ_have_others(name: str, other: str) -> None:
    ids = [image_id(each, "0123456789abcdef") for each in (name, other, name.upper(), name.replace("_", "-"))]
    slugs = {ident: slug(ident) for ident in ids}
    assert len(set(slugs.values())) == len(slugs)
    for made in slugs.values():
        assert slug(made) == made
        chain = chain_of(parse_name(f"dip.imp.0.{made}.r05"))
        assert chain is not None
        assert chain.source == made


def test_a_plain_id_is_its_own_slug() -> None:
    assert slug("f16-5fb2ac1e") == "f16-5fb2ac1e"
    assert slug("F 16-5fb2ac1e").startswith("f-16-5fb2ac1e-")
