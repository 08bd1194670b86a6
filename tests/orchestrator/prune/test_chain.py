import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.arms.chains import initial_network
from orchestrator.arms.lottery import chains_of, rounds_of
from orchestrator.arms.resolve import arms_of
from orchestrator.errors import FitOutOfMemoryError, NodeLeavingError
from orchestrator.fit.cost import prior_cost
from orchestrator.fit.job import FitJob
from orchestrator.fit.problem import Problem
from orchestrator.fit.record import FitRecord, fit_keys, read_record
from orchestrator.prune.chain import run_chain
from orchestrator.prune.rounds import round_subject
from orchestrator.prune.tickets import read_ticket
from orchestrator.run.layout import image_key
from orchestrator.settings import Config
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig, Reads
from workers.fitting import Fit, FitDivergedError
from workers.lottery.joint import JointFit
from workers.lottery.oes import MaskSearch
from workers.lottery.tickets import Ticket
from workers.names import Chain, FitName, PriorName, parse_name
from workers.networks import Network
from workers.objective import Objective
from workers.operators import Identity

NETWORK = "deep-decoder-8"
"""The quickest: 6 x 64 + 24 weights, of which 306, 230 and 172 are left after rounds that take a quarter."""
LEFT = {0: 408, 1: 306, 2: 230, 3: 172}
PARAMETERS = 408 + 96
METHODS = ["lottery-imp", "lottery-random", "lottery-snip", "lottery-oes"]


class CrashError(Exception):
    """A process that ends in the middle of its work."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def settings(make_config: MakeConfig, arm: str = "lottery-imp", **changes: Any) -> Config:
    """A lottery of one chain, two rounds of three iterations, each a block, that leaves a checkpoint when it must."""
    lottery = {"network": NETWORK, "initialisations": 1, "rounds": 2, "rate": 0.25} | changes.pop("lottery", {})
    fit = {"iterations": 3, "patience": 3, "block": 1} | changes.pop("fit", {})
    return make_config(arms=[arm], lottery=lottery, fit=fit, **changes)


@pytest.fixture
def benches(make_bench: MakeBench, encoded: Encoded) -> Callable[..., list[Bench]]:
    """Two images with references in a store."""

    def make(config: Config, store: str = "store") -> list[Bench]:
        return [
            make_bench(config, encoded(noise_seed=number), encoded(), name=name, store=store)
            for number, name in ((1, "a.png"), (2, "b.png"))
        ]

    return make


def jobs_of(images: Sequence[Bench]) -> list[FitJob]:
    """The jobs that a driver would have done, in its order: for the first image, or for all where
    masks are found together.
    """
    config = images[0].context.config
    (arm,) = arms_of(config)
    together = tuple(bench.image for bench in images)
    jobs = []
    if config.lottery.together:
        own = [replace(chain, source=None) for chain in chains_of(config, arm, NETWORK) if chain.source is not None]
        jobs = [FitJob(images[0].image, "full", chain, together=together) for chain in own]
    chains = chains_of(config, arm, NETWORK)
    for bench in images if config.lottery.together else images[:1]:
        jobs += [FitJob(bench.image, "full", chain) for chain in chains]
    return jobs


def run(images: Sequence[Bench], **how: Any) -> list[FitRecord]:
    return [run_chain(images[0].context, job, **how) for job in jobs_of(images)]


def round_record(bench: Bench, name: FitName | str) -> FitRecord:
    job = FitJob(bench.image, "full", parse_name(str(name)))
    record = read_record(bench.store, fit_keys(bench.context, job))
    assert record is not None
    return record


def tickets_of(bench: Bench) -> dict[str, bytes]:
    """Return all tickets of the run, and the weights next to them, by their keys."""
    root = bench.context.layout.all_tickets
    return {key.removeprefix(f"{root}/"): bench.store.get(key) for key in bench.store.keys(root)}


def left_behind(bench: Bench) -> dict[str, bytes]:
    """Everything of the run that is in the store, except for the seconds."""
    left = {key: bench.store.get(key) for key in bench.store.keys(bench.context.layout.root)}
    for key, data in left.items():
        if key.endswith("/result.json"):
            left[key] = json.dumps(json.loads(data) | {"seconds": 0}).encode()
    return left


class Writes:
    """The keys that are created or put in stores, in order; the process ends instead of the write
    after the first ``most``.

    A create of an existing key does not count.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[str] = []
        self.most: int | None = None
        for name in ("put", "create"):
            monkeypatch.setattr(LocalStore, name, self._noting(getattr(LocalStore, name)))

    def _noting(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def noting(store: LocalStore, key: str, data: bytes, **how: Any) -> Any:
            if write.__name__ == "create" and store.exists(key):
                return write(store, key, data, **how)
            if self.most is not None and len(self.keys) >= self.most:
                raise CrashError
            self.keys.append(key)
            return write(store, key, data, **how)

        return noting


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(monkeypatch)


# The records that a chain leaves.


@pytest.mark.parametrize("arm", METHODS)
@pytest.mark.parametrize("target", ["observed", "clean"])
def test_a_chain_leaves_tickets_of_exactly_the_weights_that_are_to_be_left_and_its_own_record_last(
    benches: Callable[..., list[Bench]], make_config: MakeConfig, writes: Writes, arm: str, target: str
) -> None:
    config = settings(make_config, arm, lottery={"rounds": 3, "target": target})
    images = benches(config)
    method: Any = arm.removeprefix("lottery-")
    chain = Chain(NETWORK, method, 0)
    dense, record = run(images)
    assert (dense.state, record.state, record.candidate, record.view) == ("done", "done", chain, "full")
    names = [f"a-0123abcd/{chain.round(number)}.ticket" for number in (1, 2, 3)]
    tickets = tickets_of(images[0])
    assert list(tickets) == names
    for number, name in zip((1, 2, 3), names, strict=True):
        ticket = Ticket.from_bytes(tickets[name])
        assert sum(int(mask.sum()) for mask in ticket.masks.values()) == LEFT[number]
        assert (ticket.method, ticket.round, ticket.target) == (method, number, target)
        fitted = round_record(images[0], chain.round(number))
        assert (fitted.state, fitted.iterations) == ("done", 3)
        # A random mask has seen no image.
        assert fitted.blind is (target == "observed" or method == "random")
        assert fitted.sparsity == (408 - LEFT[number]) / 408
        assert fitted.parameters == PARAMETERS - 408 + LEFT[number]
        # Every round's masks lie within those of the round before; what has been pruned stays pruned.
        if number > 1:
            wider = Ticket.from_bytes(tickets[names[number - 2]]).masks
            assert not any(bool((mask & ~wider[layer]).any()) for layer, mask in ticket.masks.items())
    whole = round_record(images[0], chain.dense.round(0))
    assert (whole.sparsity, whole.parameters, whole.blind) == (0.0, PARAMETERS, True)
    assert writes.keys[-1] == fit_keys(images[0].context, FitJob(images[0].image, "full", chain)).result
    # A ticket goes to the store before anything that is fitted with it.
    at = [writes.keys.index(f"runs/test/tickets/{name}") for name in names]
    fits = [
        min(place for place, key in enumerate(writes.keys) if f"/{chain.round(number)}/" in key) for number in (1, 2, 3)
    ]
    assert all(found < fitted for found, fitted in zip(at, fits, strict=True))
    # Nothing half done is left.
    assert not any(key.endswith(("checkpoint.pt", ".start.pt")) or "finding" in key for key in left_behind(images[0]))
    searched = {"lottery-oes": 3, "lottery-imp": 9 if target == "clean" else 0}.get(arm, 0)
    assert record.iterations == searched
    step = prior_cost(images[0].context.config, images[0].image, "full", PriorName(chain.network))
    assert record.multiply_adds == searched * step


def test_methods_of_one_round_are_equally_sparse_and_choose_otherwise(
    benches: Callable[..., list[Bench]], make_config: MakeConfig
) -> None:
    arms = ["lottery-imp", "lottery-random", "lottery-snip", "lottery-oes"]
    images = benches(settings(make_config).model_copy(update={"arms": make_config(arms=arms).arms}))
    context, image = images[0].context, images[0].image
    chains = [Chain(NETWORK, method, 0) for method in ("dense", "imp", "random", "snip", "oes", "decoder")]
    for chain in chains:
        assert run_chain(context, FitJob(image, "full", chain)).state == "done"
    for number in (1, 2):
        records = [round_record(images[0], chain.round(number)) for chain in chains[1:5]]
        assert len({(record.sparsity, record.parameters) for record in records}) == 1
        masks = {
            ticket.partition(b"sha256")[2] for name, ticket in tickets_of(images[0]).items() if f"r0{number}" in name
        }
        assert len(masks) == 4
        decoder = round_record(images[0], chains[-1].round(number))
        assert decoder.parameters is not None
        assert decoder.parameters <= (records[0].parameters or 0)
    assert len(tickets_of(images[0])) == 8


def test_rounds_that_are_asked_for_are_fitted_and_no_others(
    benches: Callable[..., list[Bench]], make_config: MakeConfig
) -> None:
    images = benches(settings(make_config, "lottery-imp", lottery={"rounds": 3, "fit_rounds": [2], "target": "clean"}))
    run(images)
    # Its masks come out of those of the round before.
    assert [name.split(".")[-2] for name in tickets_of(images[0])] == ["r01", "r02"]
    fits = {key.split("/")[-2] for key in left_behind(images[0]) if key.endswith("/result.json")}
    assert fits == {f"{NETWORK}.dense.0", f"{NETWORK}.dense.0.r00", f"{NETWORK}.imp.0", f"{NETWORK}.imp.0.r02"}
    images = benches(settings(make_config, "lottery-oes", lottery={"rounds": 3, "fit_rounds": [2]}), "oes")
    run(images)
    assert [name.split(".")[-2] for name in tickets_of(images[0])] == ["r02"]


def fitted_by_hand(bench: Bench, chain: Chain, number: int, iterations: int) -> Network:
    """The network of a round, fitted once more with the same loss and noise, but by other means."""
    context, image = bench.context, bench.image
    problem = Problem(context, image)
    measurement = problem.measurement(problem.view("full"))
    drawn = round_subject(context, image, chain.round(number))
    objective = Objective(drawn.network, measurement, Identity(), input_noise=1 / 30, seed=drawn.seed)
    JointFit(drawn.network, [objective], learning_rate=0.01).advance(iterations)
    return drawn.network


def test_masks_by_magnitude_are_those_of_the_fit_of_the_round_before(
    benches: Callable[..., list[Bench]], make_config: MakeConfig
) -> None:
    images = benches(settings(make_config))
    run(images)
    chain = Chain(NETWORK, "imp", 0)
    for number, before in ((1, chain.dense), (2, chain)):
        network = fitted_by_hand(images[0], before, number - 1, 3)
        values = {
            name: layer.weight.detach().abs().numpy()
            for name, layer in network.named_modules()
            if isinstance(layer, torch.nn.Conv2d)
        }
        least = np.sort(np.concatenate([value.ravel() for value in values.values()]))[-LEFT[number]]
        context = images[0].context
        masks = read_ticket(context, context.layout.ticket(images[0].image.id, chain.round(number))).masks
        for name, mask in masks.items():
            np.testing.assert_array_equal(mask.numpy(), values[name] >= least)


def test_rewound_rounds_begin_from_the_weights_that_the_dense_network_had(
    benches: Callable[..., list[Bench]], make_config: MakeConfig
) -> None:
    starts = {}
    for rewind in (1, 2):
        images = benches(settings(make_config, lottery={"rewind": rewind}), str(rewind))
        _, record = run(images)
        assert record.iterations == rewind
        tickets = tickets_of(images[0])
        start = tickets.pop(f"a-0123abcd/{NETWORK}.imp.0.start.pt")
        starts[rewind] = torch.load(BytesIO(start), weights_only=True)["weights"]
        by_hand = fitted_by_hand(images[0], Chain(NETWORK, "dense", 0), 0, rewind)
        assert all(torch.equal(value, by_hand.state_dict()[name]) for name, value in starts[rewind].items())
        assert {Ticket.from_bytes(data).rewind for data in tickets.values()} == {rewind}
    initial = initial_network(images[0].context.config, Chain(NETWORK, "imp", 0), 3).state_dict()
    assert starts[1].keys() == starts[2].keys() == initial.keys()
    # Adam moves every weight by about the learning rate in its first step.
    moved = (starts[1]["layers.0.weight"] - initial["layers.0.weight"]).abs()
    assert moved.max() == pytest.approx(0.01, rel=0.01)
    assert not torch.equal(starts[2]["layers.0.weight"], starts[1]["layers.0.weight"])


def test_what_is_found_together_serves_all_images(benches: Callable[..., list[Bench]], make_config: MakeConfig) -> None:
    images = benches(settings(make_config, lottery={"together": True, "rewind": 1}))
    records = run(images)
    assert [record.state for record in records] == ["done"] * 5
    names = [f"all-images/{NETWORK}.imp.0.{rest}" for rest in ("r01.ticket", "r02.ticket", "start.pt")]
    assert sorted(tickets_of(images[0])) == names
    for name in names[:2]:
        assert Ticket.from_bytes(tickets_of(images[0])[name]).source == ("a-0123abcd", "b-0123abcd")
    for bench in images:
        for number in (1, 2):
            fitted = round_record(bench, f"{NETWORK}.imp.0.all-images.r0{number}")
            assert (fitted.state, fitted.sparsity) == ("done", (408 - LEFT[number]) / 408)
    # One image alone gives others.
    alone = benches(settings(make_config, lottery={"target": "clean"}), "alone")
    run(alone)
    one = Ticket.from_bytes(tickets_of(alone[0])[f"a-0123abcd/{NETWORK}.imp.0.r01.ticket"]).masks
    both = Ticket.from_bytes(tickets_of(images[0])[names[0]]).masks
    assert any(not torch.equal(one[name], both[name]) for name in one)


# Chains that are interrupted.


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "imp": ("lottery-imp", {}),
    "oes": ("lottery-oes", {}),
    "snip": ("lottery-snip", {}),
    "random": ("lottery-random", {}),
    "imp clean": ("lottery-imp", {"target": "clean"}),
    "imp rewound": ("lottery-imp", {"rewind": 2}),
    "imp clean rewound": ("lottery-imp", {"target": "clean", "rewind": 2}),
    "imp together": ("lottery-imp", {"together": True, "rewind": 1}),
    "oes together": ("lottery-oes", {"together": True}),
}


def resumed(images: Sequence[Bench], every: int, told: list[int]) -> Iterator[FitRecord]:
    """Run every job to its end, on machines that are taken away after ``every`` blocks each."""
    for job in jobs_of(images):
        for _ in range(100):
            calls = count(1)
            try:
                yield run_chain(
                    images[0].context,
                    job,
                    on_progress=lambda iteration, _: told.append(iteration),
                    must_leave=lambda calls=calls: next(calls) >= every,  # type: ignore[misc]
                )
                break
            except NodeLeavingError:
                torch.manual_seed(len(told))
        else:
            raise AssertionError("it comes to no end")


@pytest.mark.parametrize("case", CASES)
def test_a_chain_whose_machines_are_taken_away_ends_byte_equal_and_repeats_nothing(
    benches: Callable[..., list[Bench]], make_config: MakeConfig, case: str
) -> None:
    arm, lottery = CASES[case]
    config = settings(make_config, arm, lottery=lottery)
    calm = benches(config, "calm")
    steps: list[int] = []
    expected = run(calm, on_progress=lambda iteration, _: steps.append(iteration))
    for every in (1, 4):
        broken = benches(config, f"broken {every}")
        told: list[int] = []
        records = list(resumed(broken, every, told))
        assert [replace(record, seconds=0) for record in records] == [replace(each, seconds=0) for each in expected]
        assert told == steps
        assert left_behind(broken[0]) == left_behind(calm[0])


@pytest.mark.parametrize("case", ["imp", "oes", "imp clean rewound", "imp together"])
def test_a_chain_that_is_killed_at_any_write_ends_byte_equal(
    benches: Callable[..., list[Bench]], make_config: MakeConfig, writes: Writes, case: str
) -> None:
    arm, lottery = CASES[case]
    # A checkpoint after every block.
    config = settings(make_config, arm, lottery=lottery, fit={"checkpoint_s": 1e-9, "iterations": 2, "patience": 2})
    calm = benches(config, "calm")
    run(calm)
    expected = left_behind(calm[0])
    broken = benches(config, "broken")
    for number in count():
        # One write further each time, so that each of them is one day the one that is not made.
        writes.keys, writes.most = [], number % 4
        try:
            run(broken)
        except CrashError:
            assert number < 100, "it comes to no end"
        else:
            break
    writes.most = None
    left = left_behind(broken[0])
    # A process that is killed between a result and the end of its checkpoint leaves that.
    rest = {key for key in left if key not in expected}
    assert all(key.endswith(".pt") for key in rest)
    assert {key: left[key] for key in expected} == expected


def test_a_chain_that_is_done_is_not_done_again(benches: Callable[..., list[Bench]], make_config: MakeConfig) -> None:
    def fail(iteration: int, error: float) -> None:
        raise AssertionError("it is repeated")

    for arm, lottery in CASES.values():
        images = benches(settings(make_config, arm, lottery=lottery), f"{arm} {lottery}")
        records = run(images)
        before = left_behind(images[0])
        assert run(images, on_progress=fail) == records
        # Without the chain's own record its content is looked up.
        for job in jobs_of(images):
            images[0].store.delete(fit_keys(images[0].context, job).result)
        run(images, on_progress=fail)
        assert left_behind(images[0]) == before


def test_a_round_whose_arrays_somebody_has_removed_is_made_again(
    benches: Callable[..., list[Bench]], make_config: MakeConfig
) -> None:
    images = benches(settings(make_config))
    run(images)
    before = left_behind(images[0])
    name = Chain(NETWORK, "imp", 0).round(1)
    keys = fit_keys(images[0].context, FitJob(images[0].image, "full", name))
    images[0].store.delete(keys.arrays(str(round_record(images[0], name).arrays)))
    told: list[int] = []
    run(images, on_progress=lambda iteration, _: told.append(iteration))
    assert told == [1, 2, 3, 3]  # the last is that with all pixels
    assert left_behind(images[0]) == before


def test_a_search_on_several_images_looks_up_as_often_as_one_on_one(
    benches: Callable[..., list[Bench]], make_config: MakeConfig
) -> None:
    for together, blocks in ((True, [2, 3]), (False, [3])):
        lottery = {"together": together}
        images = benches(settings(make_config, "lottery-oes", lottery=lottery, fit={"block": 4}), str(together))
        told: list[int] = []
        job = next(job for job in jobs_of(images) if isinstance(job.name, Chain) and job.name.method == "oes")
        run_chain(images[0].context, job, on_progress=lambda iteration, _, told=told: told.append(iteration))  # type: ignore[misc]
        assert told[: len(blocks)] == blocks


# Chains without a result.


def diverging_from(monkeypatch: pytest.MonkeyPatch, kind: type[Any], call: int) -> None:
    """From block number ``call`` on, work of this kind diverges."""
    launch, calls = kind.launch, count(1)

    def diverging(self: Any, iterations: int) -> Callable[[], float]:
        if next(calls) >= call:
            raise FitDivergedError("the loss is no number")
        settle: Callable[[], float] = launch(self, iterations)
        return settle

    monkeypatch.setattr(kind, "launch", diverging)


def test_a_chain_ends_where_a_round_has_no_result_for_the_next(
    benches: Callable[..., list[Bench]], make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = benches(settings(make_config, lottery={"rounds": 3}, fit={"block": 3}))
    diverging_from(monkeypatch, Fit, 2)
    dense, record = run(images)
    assert dense.state == "done"
    assert (record.state, record.reason) == (
        "failed",
        "round 1 has no result for the next to be pruned by: the fit diverged: the loss is no number",
    )
    assert round_record(images[0], f"{NETWORK}.imp.0.r01").state == "failed"
    assert list(tickets_of(images[0])) == [f"a-0123abcd/{NETWORK}.imp.0.r01.ticket"]
    # It stays so.
    assert run(images) == [dense, record]


def test_a_chain_whose_dense_round_failed_says_that_it_has_no_ticket(
    benches: Callable[..., list[Bench]], make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = benches(settings(make_config))
    diverging_from(monkeypatch, Fit, 1)
    _, record = run(images)
    assert record.state == "failed"
    key = images[0].context.layout.ticket("a-0123abcd", Chain(NETWORK, "imp", 0).round(1))
    assert record.reason == f"there is no ticket {images[0].store.show(key)}"


@pytest.mark.parametrize("arm", ["lottery-random", "lottery-oes"])
def test_where_masks_are_found_apart_other_rounds_go_on_after_one_that_failed(
    benches: Callable[..., list[Bench]], make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, arm: str
) -> None:
    images = benches(settings(make_config, arm, fit={"block": 3}))
    diverging_from(monkeypatch, Fit, 2)
    dense, record = run(images)
    assert (dense.state, record.state) == ("done", "done")
    name = f"{NETWORK}.{arm.removeprefix('lottery-')}.0"
    rounds = [round_record(images[0], f"{name}.r0{number}") for number in (1, 2)]
    assert [each.state for each in rounds] == ["failed", "failed"]
    assert rounds[0].reason == "the fit diverged: the loss is no number"


@pytest.mark.parametrize(("case", "kind"), [("imp clean", JointFit), ("imp rewound", JointFit), ("oes", MaskSearch)])
def test_a_search_that_diverges_fails_its_chain(
    benches: Callable[..., list[Bench]],
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    kind: type[Any],
) -> None:
    arm, lottery = CASES[case]
    images = benches(settings(make_config, arm, lottery=lottery))
    diverging_from(monkeypatch, kind, 2)
    dense, record = run(images)
    assert dense.state == "done"
    assert (record.state, record.reason) == ("failed", "the loss is no number")
    rounds = [key for key in left_behind(images[0]) if key.endswith(".r01/result.json")]
    assert rounds == []


def test_where_the_search_on_all_images_failed_their_chains_say_that_there_are_no_tickets(
    benches: Callable[..., list[Bench]], make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = benches(settings(make_config, "lottery-oes", lottery={"together": True}))
    diverging_from(monkeypatch, MaskSearch, 1)
    search, *others = run(images)
    assert (search.state, search.reason) == ("failed", "the loss is no number")
    chains = [record for record in others if str(record.candidate).endswith("all-images")]
    assert len(chains) == 2
    assert all(str(record.reason).startswith("there is no ticket ") for record in chains)


def test_masks_cannot_be_found_on_a_clean_image_that_is_not_there(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(settings(make_config, lottery={"target": "clean"}), encoded(noise_seed=1))
    _, record = run([bench])
    assert (record.state, record.reason) == ("failed", "lottery.target=clean: the image has no clean reference")


def test_an_image_that_cannot_be_read_fails_its_chains(
    benches: Callable[..., list[Bench]], make_config: MakeConfig
) -> None:
    images = benches(settings(make_config, "lottery-oes"))
    images[0].store.put(image_key(images[0].image.file), b"no picture")
    dense, record = run(images)
    assert (dense.state, record.state) == ("failed", "failed")
    assert dense.reason == record.reason
    assert dense.reason


def test_values_that_are_no_numbers_make_no_masks(
    benches: Callable[..., list[Bench]], make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"layers.0": torch.full((8, 8, 1, 1), torch.nan)}
    monkeypatch.setattr("orchestrator.prune.search.by_sensitivity", lambda network, objectives, exempt: nothing)
    _, record = run(benches(settings(make_config, "lottery-snip")))
    assert (record.state, record.reason) == (
        "failed",
        "no masks could be found: a weight is valued by what is not a number",
    )


def test_want_of_memory_in_a_search_is_told_as_in_a_fit(
    benches: Callable[..., list[Bench]], make_config: MakeConfig
) -> None:
    def full(iteration: int, error: float) -> None:
        raise MemoryError

    images = benches(settings(make_config, "lottery-oes"))
    job = FitJob(images[0].image, "full", Chain(NETWORK, "oes", 0))
    with pytest.raises(FitOutOfMemoryError, match="out of memory: fitting 48x40 pixels takes about "):
        run_chain(images[0].context, job, on_progress=full)
    assert read_record(images[0].store, fit_keys(images[0].context, job)) is None


# The data that a search may see.


def replaced(bench: Bench, pixels: np.ndarray[Any, Any]) -> None:
    """Put another picture in the place of a run's."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    bench.store.put(image_key(bench.image.file), file.getvalue())


def given(bench: Bench) -> np.ndarray[Any, Any]:
    return np.array(Image.open(BytesIO(bench.store.get(image_key(bench.image.file)))))


@pytest.mark.parametrize("case", ["imp", "oes", "snip", "imp rewound", "imp together", "oes together"])
def test_masks_follow_the_pixels_that_a_fit_may_see_and_not_those_that_are_hidden_from_it(
    benches: Callable[..., list[Bench]], make_config: MakeConfig, case: str
) -> None:
    arm, lottery = CASES[case]
    config = settings(make_config, arm, lottery=lottery)
    plain, hidden, seen = (benches(config, name) for name in ("plain", "hidden", "seen"))
    problem = Problem(plain[0].context, plain[0].image)
    held_out = problem.measurement(problem.view("full")).held_out
    assert 0.1 < held_out.mean() < 0.3
    picture = given(plain[0])
    replaced(hidden[0], np.where(held_out[..., None], 255 - picture, picture))
    replaced(seen[0], np.where(held_out[..., None], picture, 255 - picture))
    found = []
    for images in (plain, hidden, seen):
        run(images)
        found.append(tickets_of(images[0]))
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.parametrize("case", ["imp clean", "imp clean rewound"])
def test_masks_of_the_clean_image_follow_it_and_not_the_degraded_one(
    benches: Callable[..., list[Bench]], make_config: MakeConfig, case: str
) -> None:
    arm, lottery = CASES[case]
    plain, degraded, other = (benches(settings(make_config, arm, lottery=lottery), name) for name in ("p", "d", "o"))
    replaced(degraded[0], 255 - given(plain[0]))
    clean = image_key(str(other[0].image.reference))
    picture = np.array(Image.open(BytesIO(other[0].store.get(clean))))
    file = BytesIO()
    Image.fromarray(255 - picture).save(file, "PNG")
    other[0].store.put(clean, file.getvalue())
    found = []
    for images in (plain, degraded, other):
        run(images)
        found.append(tickets_of(images[0]))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_the_rounds_of_a_chain_are_fitted_to_the_degraded_image_whatever_its_masks_were_found_on(
    benches: Callable[..., list[Bench]], make_config: MakeConfig
) -> None:
    """With equal masks, the fits are equal too."""
    outputs = []
    for target in ("observed", "clean"):
        images = benches(settings(make_config, "lottery-random", lottery={"target": target}), target)
        run(images)
        outputs.append({key: data for key, data in left_behind(images[0]).items() if "/fits/" in key})
    assert outputs[0] == outputs[1]


def test_rounds_of_a_chain_are_those_that_its_arm_has(make_config: MakeConfig) -> None:
    config = settings(make_config)
    (arm,) = arms_of(config)
    assert [(str(chain), rounds_of(config, chain)) for chain in chains_of(config, arm, NETWORK)] == [
        (f"{NETWORK}.dense.0", [0]),
        (f"{NETWORK}.imp.0", [1, 2]),
    ]


@pytest.mark.parametrize("target", ["observed", "clean"])
def test_a_chain_reads_every_input_once(
    benches: Callable[..., list[Bench]], make_config: MakeConfig, read: Reads, target: str
) -> None:
    images = benches(settings(make_config, "lottery-snip", lottery={"target": target}))
    keys = read(images[0])
    *_, chain = jobs_of(images)
    assert run_chain(images[0].context, chain).state == "done"
    assert sorted(keys) == [image_key("a-0123abcd.png"), image_key("a-0123abcd.ref")]
