import copy
import io
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from orchestrator.errors import NewerFormatError
from orchestrator.fit.checkpoint import Resumable, load_weights, take_up, to_bytes, weights_to_bytes
from tests.workers.lottery.small import decoder, objective
from workers.fitting import Fit, FitSettings
from workers.lottery.joint import JointFit
from workers.lottery.oes import MaskSearch
from workers.objective import Measurement
from workers.operators import Identity
from workers.quality import PsnrObserver
from workers.reveal import Reveal

PIXELS = np.linspace(0, 1, 2 * 32 * 32, dtype=np.float32).reshape(2, 32, 32)
HIDDEN = np.arange(32 * 32).reshape(32, 32) % 20 == 0


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def fit_of(channels: int = 4) -> Fit:
    measurement = Measurement(PIXELS, HIDDEN)
    observers = [PsnrObserver(PIXELS, "cpu")]
    return Fit(decoder(channels=channels), measurement, Identity(), FitSettings(20, 20), seed=3, observers=observers)


def hiding_of(channels: int = 4) -> Fit:
    """A fit that hides its pixels to the end, as those of earlier versions."""
    settings = FitSettings(20, 20, reveal=0)
    return Fit(decoder(channels=channels), Measurement(PIXELS, HIDDEN), Identity(), settings, seed=3)


def reveal_of(channels: int = 4) -> Reveal:
    fit = fit_of(channels)
    fit.advance(20)
    reveal = fit.reveal()
    assert reveal is not None
    return reveal


def joint_of(channels: int = 4) -> JointFit:
    network = decoder(channels=channels)
    return JointFit(network, [objective(network, image) for image in range(2)], learning_rate=0.01)


def search_of(channels: int = 4) -> MaskSearch:
    network = decoder(channels=channels)
    return MaskSearch(network, [objective(network)], prior=0.5, strength=1e-9, seed=0)


MAKERS = (fit_of, hiding_of, reveal_of, joint_of, search_of)


def written(saved: Any) -> bytes:
    file = io.BytesIO()
    torch.save(saved, file)
    return file.getvalue()


@cache
def checkpoint_of(make: Callable[[], Resumable]) -> bytes:
    """A checkpoint after three iterations."""
    work = make()
    work.advance(3)
    return to_bytes(work, 12.5)


def saved_by(make: Callable[[], Resumable]) -> dict[str, Any]:
    """Its parts."""
    saved: dict[str, Any] = torch.load(io.BytesIO(checkpoint_of(make)), weights_only=True)
    return saved


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a checkpoint, at all levels."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, each in inside:
        yield (*path, key)
        yield from places(each, (*path, key))


def at(saved: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        saved = saved[key]
    return saved


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.equal(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(each, other[key]) for key, each in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def _alike(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (not isinstance(one, Tensor) or one.shape == other.shape) and equal(one, other)


def assert_begun_anew(work: Resumable, data: bytes) -> None:
    before = copy.deepcopy(work.state_dict())
    assert take_up(work, data) == 0.0
    assert equal(work.state_dict(), before)


@pytest.mark.parametrize("make", MAKERS)
def test_work_goes_on_from_its_checkpoint_as_if_nothing_had_happened(make: Any) -> None:
    undisturbed, resumed = make(), make()
    undisturbed.advance(4)
    assert take_up(resumed, checkpoint_of(make)) == 12.5
    resumed.advance(1)
    assert equal(resumed.state_dict(), undisturbed.state_dict())


@pytest.mark.parametrize("make", MAKERS)
def test_a_checkpoint_of_work_that_was_not_begun_is_none_the_worse(make: Any) -> None:
    work = make()
    assert take_up(work, to_bytes(make(), 0.5)) == 0.5
    assert work.iteration == 0


@pytest.mark.parametrize("make", MAKERS)
def test_a_checkpoint_without_a_number_is_that_of_the_first_version(make: Any) -> None:
    saved = saved_by(make)
    assert saved.pop("format") == 3
    if "stopping" in saved["fit"]:
        assert saved["fit"].pop("best").tolist() == [0]
    if make is hiding_of:
        assert saved["fit"].pop("at_stop") == {}
    assert saved.keys() == {"seconds", "fit"}
    work = make()
    assert take_up(work, written(saved)) == 12.5
    assert work.iteration == 3


@pytest.mark.parametrize("number", [4, 99, -1, "1", None, True, 1.0])
def test_a_checkpoint_of_a_newer_format_or_of_none_is_begun_anew(number: object) -> None:
    assert_begun_anew(fit_of(), written(saved_by(fit_of) | {"format": number}))


@pytest.mark.parametrize("make", MAKERS)
def test_a_checkpoint_that_lacks_any_part_is_begun_anew(make: Any) -> None:
    saved = saved_by(make)
    work = make()
    for path in places(saved):
        # Of a list, such as that of the optimiser's weights, two stand for all.
        if path == ("format",) or any(isinstance(key, int) and key > 1 for key in path):
            continue
        damaged = copy.deepcopy(saved)
        parent = at(damaged, path[:-1])
        if not isinstance(parent, tuple):
            del parent[path[-1]]
            assert_begun_anew(work, written(damaged))


@pytest.mark.parametrize("make", MAKERS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_checkpoint_of_other_types_or_shapes_is_begun_anew(make: Any, data: st.DataObject) -> None:
    saved = saved_by(make)
    path = data.draw(st.sampled_from([path for path in places(saved) if path[0] == "fit"]))
    parent, key = at(saved, path[:-1]), path[-1]
    if isinstance(parent, tuple):
        return
    value = parent[key]
    others: list[Any] = ["a word", None, {}, [], b"bytes", torch.zeros(3, 5, 7), torch.zeros((), dtype=torch.complex64)]
    if isinstance(value, Tensor):
        others += [value[None], torch.cat([value.reshape(-1), value.reshape(-1)[:1]]), 1.0]
    parent[key] = data.draw(st.sampled_from([other for other in others if not _alike(other, value)]))
    assert_begun_anew(make(), written(saved))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("other", MAKERS)
def test_a_checkpoint_of_another_network_or_of_other_work_is_begun_anew(make: Any, other: Any) -> None:
    assert_begun_anew(make(), to_bytes(other(channels=5), 1.0))
    if make is not other:
        assert_begun_anew(make(), to_bytes(other(), 1.0))


@pytest.mark.parametrize(
    "data",
    [b"", b"no checkpoint", written([1, 2]), written({}), written(torch.zeros(3)), written({"seconds": 1.0, "fit": 3})],
)
def test_what_is_no_checkpoint_is_begun_anew(data: bytes) -> None:
    assert_begun_anew(fit_of(), data)


def test_a_moment_of_another_shape_is_noticed() -> None:
    saved = saved_by(fit_of)
    moments = saved["fit"]["optimizer"]["state"][0]
    moments["exp_avg"] = moments["exp_avg"][:1]
    moments["exp_avg_sq"] = moments["exp_avg_sq"][:1]
    assert_begun_anew(fit_of(), written(saved))


def test_want_of_memory_is_no_fault_of_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    data = to_bytes(fit_of(), 1.0)
    work = fit_of()

    def starved(state: dict[str, Any]) -> None:
        raise MemoryError

    monkeypatch.setattr(work, "load_state_dict", starved)
    with pytest.raises(MemoryError):
        take_up(work, data)


def test_weights_come_back_also_those_of_the_first_version() -> None:
    network, data = decoder(), weights_to_bytes(decoder())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    for given_data in (data, written(decoder().state_dict())):
        found = copy.deepcopy(network)
        load_weights(found, given_data, "x.start.pt")
        assert equal(dict(found.state_dict()), dict(decoder().state_dict()))


def test_weights_of_a_newer_format_are_refused_by_name() -> None:
    saved = torch.load(io.BytesIO(weights_to_bytes(decoder())), weights_only=True)
    with pytest.raises(NewerFormatError, match=r"the weights x\.start\.pt has format 2.*newer version"):
        load_weights(decoder(), written(saved | {"format": 2}), "x.start.pt")


@pytest.mark.parametrize(
    "saved", [{"format": 1}, {"format": 1, "weights": {}}, {}, [1], {"format": "x", "weights": {}}]
)
def test_what_is_no_weights_is_refused(saved: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_weights(decoder(), written(saved), "x.start.pt")


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match="size mismatch"):
        load_weights(decoder(), weights_to_bytes(decoder(channels=5)), "x.start.pt")
