import math
import random
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.figures.learnt import FEWEST_FITS, learn_models, models_to_plain, predict, with_learnt
from orchestrator.figures.portfolio import PastFit
from orchestrator.figures.study import Table
from workers.features import features_of
from workers.metrics import LEARNT
from workers.space import sample_candidates

NETWORKS = [candidate.id for candidate in sample_candidates(30, 5)]


def gain(network: str) -> float:
    """What a network is truly worth, in dB."""
    features = features_of(network)
    assert features is not None
    return 3 * features.get("activation LeakyReLU", 0) - 4 * features.get("upsampling pixel_shuffle", 0)


def fits_of(*images: str, task: str = "denoise", noise: float = 0.1) -> list[PastFit]:
    chance = np.random.default_rng(2)
    return [
        PastFit(
            task, 25.0, image, network, math.nan, 10 ** (-(hard + gain(network) + noise * chance.normal()) / 10), 1.0
        )
        for hard, image in enumerate(images)
        for network in NETWORKS
    ]


def test_what_is_good_about_networks_is_learnt_without_a_reference() -> None:
    own, every = learn_models(fits_of("a", "b", "c"))
    assert (own.task, own.images, own.fits) == ("denoise", ("a", "b", "c"), 90)
    assert replace(every, task="denoise") == own
    assert own.tau > 0.6
    others = [candidate.id for candidate in sample_candidates(60, 9)]
    foretold = [predict(own.weights, features_of(name) or {}) for name in others]
    assert np.corrcoef(foretold, [gain(name) for name in others])[0, 1] > 0.9


def test_where_there_is_nothing_to_learn_its_tau_says_so() -> None:
    chance = np.random.default_rng(0)
    fits = [replace(fit, held_out_error=float(chance.random())) for fit in fits_of("a", "b", "c", "d")]
    assert abs(learn_models(fits)[0].tau) < 0.25


def test_the_order_of_the_fits_changes_no_digit() -> None:
    fits = fits_of("a", "b", "c")
    shuffled = random.Random(3).sample(fits, len(fits))
    assert learn_models(shuffled) == learn_models(fits)


def test_too_few_fits_teach_nothing() -> None:
    assert learn_models(fits_of("a", "b")) == []
    assert learn_models(fits_of("a", "b", "c")[: FEWEST_FITS - 1]) == []
    no_candidates = [replace(fit, network="dip") for fit in fits_of("a", "b", "c")]
    unknown = [replace(fit, held_out_error=math.nan) for fit in fits_of("a", "b", "c")]
    assert learn_models([*no_candidates, *unknown]) == []
    # Each of two tasks has too few, but both together teach something for any.
    half = [*fits_of("a", "b"), *fits_of("c", "d", task="inpaint")]
    assert [model.task for model in learn_models(half)] == ["any"]


def test_the_written_weights_are_those_that_were_tried() -> None:
    (model, _) = learn_models(fits_of("a", "b", "c"))
    (plain, _) = models_to_plain(learn_models(fits_of("a", "b", "c")))
    assert plain["weights"] == model.weights
    assert plain["tau"] == pytest.approx(model.tau, abs=0.005)


def study_table(*images: str) -> Table:
    fits = fits_of(*images)
    error = np.array([fit.held_out_error for fit in fits])
    names = [np.array([getattr(fit, name) for fit in fits]) for name in ("image", "network")]
    return Table(*names, -error, -error, error, {"other": error}, task="denoise", sigma=25.0)


def test_a_study_scores_each_image_by_what_the_others_taught() -> None:
    table = study_table("a", "b", "c", "d")
    told = with_learnt(table)
    assert list(told.scores) == ["other", LEARNT]
    # What happened on an image does not count for its own scores, only for those of the others.
    changed = np.where(table.image == "a", table.held_out_error[::-1], table.held_out_error)
    again = with_learnt(replace(table, held_out_error=changed)).scores[LEARNT]
    own = table.image == "a"
    np.testing.assert_array_equal(again[own], told.scores[LEARNT][own])
    assert (again[~own] != told.scores[LEARNT][~own]).any()
    assert with_learnt(study_table("a", "b")).scores.keys() == {"other"}
