import io
from dataclasses import replace

import pytest
import torch

from orchestrator.arms.chains import initial_network, weights_seed
from orchestrator.errors import NewerFormatError, StoreUnavailableError, TicketError
from orchestrator.prune.rounds import round_subject
from orchestrator.prune.tickets import leave_ticket, read_ticket, ticket_key
from orchestrator.run.layout import start_key
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from tests.orchestrator.prune.given import (
    CHAIN,
    DECODER,
    assert_equal_weights,
    changed,
    leave,
    masked,
    settings,
    state_bytes,
)
from workers.names import Chain


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    return make_bench(settings(make_config), encoded(noise_seed=1))


def test_a_ticket_tells_what_it_is_and_is_left_once(bench: Bench) -> None:
    masks = leave(bench)
    key = ticket_key(bench.context, bench.image, CHAIN, 1)
    assert key == f"runs/test/tickets/a-0123abcd/{DECODER}.imp.0.r01.ticket"
    before = bench.store.get(key)
    leave_ticket(bench.context, key, CHAIN.round(1), [bench.image], {name: ~mask for name, mask in masks.items()})
    assert bench.store.get(key) == before
    ticket = read_ticket(bench.context, key)
    assert ticket.masks.keys() == masks.keys()
    assert all(torch.equal(ticket.masks[name], mask) for name, mask in masks.items())
    assert (ticket.network, ticket.out_channels, ticket.width, ticket.input_channels) == (DECODER, 3, 8, 3)
    assert (ticket.method, ticket.initialisation, ticket.round) == ("imp", 0, 1)
    assert (ticket.source, ticket.task, ticket.target, ticket.rewind) == ((bench.image.id,), "denoise", "observed", 0)
    # By itself it builds the network that the round was fitted with.
    assert_equal_weights(ticket.build(), round_subject(bench.context, bench.image, CHAIN.round(1)).network.state_dict())


def test_a_random_ticket_has_no_source_and_only_imp_s_rewind(bench: Bench, make_config: MakeConfig) -> None:
    config = settings(make_config, rewind=3, target="clean")
    said, blind = {}, {}
    for method in ("random", "snip", "oes", "imp"):
        chain = Chain(DECODER, method, 1)
        leave(changed(bench, config), chain)
        ticket = read_ticket(bench.context, ticket_key(bench.context, bench.image, chain, 1))
        said[method] = (ticket.source, ticket.rewind, ticket.target)
        key = start_key(ticket_key(bench.context, bench.image, chain, 1))
        bench.store.put(key, state_bytes(initial_network(config, chain, 3).state_dict()))
        # Also in a run that finds masks on what was observed.
        blind[method] = round_subject(bench.context, bench.image, chain.round(1)).blind
    here = (bench.image.id,)
    assert said == {
        "random": ((), 0, "clean"),
        "snip": (here, 0, "clean"),
        "oes": (here, 0, "clean"),
        "imp": (here, 3, "clean"),
    }
    assert blind == {"random": True, "snip": False, "oes": False, "imp": False}
    leave(bench)
    assert round_subject(bench.context, bench.image, CHAIN.round(1)).blind


def test_a_ticket_that_was_found_elsewhere_is_read_there(bench: Bench, make_config: MakeConfig) -> None:
    source = "b-0123abcd"
    found = Bench(replace(bench.context, run="earlier"), replace(bench.image, id="b-0123abcd"))
    masks = leave(found)
    here = changed(bench, settings(make_config, tickets="earlier"))
    chain = replace(CHAIN, source=source)
    assert ticket_key(here.context, here.image, chain, 1) == f"runs/earlier/tickets/{source}/{CHAIN.round(1)}.ticket"
    drawn = round_subject(here.context, here.image, chain.round(1))
    assert_equal_weights(drawn.network, masked(initial_network(here.context.config, chain, 3).state_dict(), masks))
    # Without such a run it is one of this run.
    assert ticket_key(bench.context, bench.image, chain, 1).startswith(f"runs/test/tickets/{source}/")


def why_not(bench: Bench) -> str:
    with pytest.raises(TicketError) as caught:
        round_subject(bench.context, bench.image, CHAIN.round(1))
    return str(caught.value)


def test_a_ticket_that_is_not_there_is_named(bench: Bench) -> None:
    path = bench.store.show(ticket_key(bench.context, bench.image, CHAIN, 1))
    assert why_not(bench) == f"there is no ticket {path}"


@pytest.mark.parametrize("damage", ["other", "empty", "cut", "bit"])
def test_a_ticket_that_is_damaged_is_named(bench: Bench, damage: str) -> None:
    leave(bench)
    key = ticket_key(bench.context, bench.image, CHAIN, 1)
    data = bench.store.get(key)
    last = bytes([data[-1] ^ 128])
    bytes_of = {"other": b"not a ticket", "empty": b"", "cut": data[:-1], "bit": data[:-1] + last}
    bench.store.put(key, bytes_of[damage])
    assert why_not(bench).startswith(f"the ticket {bench.store.show(key)} cannot be used: ")


def test_a_ticket_or_weights_of_a_newer_version_are_no_fault_of_the_round(
    bench: Bench, make_config: MakeConfig
) -> None:
    rewound = changed(bench, settings(make_config, rewind=3))
    leave(rewound)
    key = ticket_key(bench.context, bench.image, CHAIN, 1)
    file = io.BytesIO()
    torch.save({"format": 2}, file)
    bench.store.put(start_key(key), file.getvalue())
    with pytest.raises(NewerFormatError, match=r"the weights .*start\.pt has format 2"):
        round_subject(rewound.context, bench.image, CHAIN.round(1))
    bench.store.put(key, bench.store.get(key).replace(b"dip-ticket 1", b"dip-ticket 2", 1))
    with pytest.raises(NewerFormatError, match=r"the ticket .*ticket cannot be read by dip-orchestrator .*format 2"):
        round_subject(rewound.context, bench.image, CHAIN.round(1))


def test_a_ticket_that_the_store_finds_damaged_is_named(bench: Bench) -> None:
    leave(bench)
    key = ticket_key(bench.context, bench.image, CHAIN, 1)
    path = bench.store.local_path(key)
    with path.open("r+b") as file:  # in place: the store's metadata of the object stays
        file.write(b"D")
    assert why_not(bench).startswith(f"the ticket {path} cannot be used: ")


def test_a_ticket_of_another_network_says_how_it_differs(
    bench: Bench, make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    leave(bench)
    path = bench.store.show(ticket_key(bench.context, bench.image, CHAIN, 1))
    config = bench.context.config
    wide = changed(bench, config.model_copy(update={"network": config.network.model_copy(update={"width": 12})}))
    deep = {"network": config.network.model_copy(update={"input_channels": 5})}
    seed, other = (weights_seed(settings(make_config, seed=number), CHAIN) for number in (0, 1))
    has = (
        f"the ticket {path} is of a network with 3 channels, width 8, input depth 3, weights of seed {seed}:"
        " here there are"
    )
    assert why_not(wide) == f"{has} 3, 12, 3, {seed}"
    assert why_not(changed(bench, config.model_copy(update=deep))) == f"{has} 3, 8, 5, {seed}"
    assert why_not(changed(bench, settings(make_config, seed=1))) == f"{has} 3, 8, 3, {other}"
    grey = make_bench(config, encoded(channels=1))
    assert why_not(grey) == f"{has} 1, 8, 1, {seed}"


def test_a_rewound_round_begins_from_the_weights_beside_its_ticket(bench: Bench, make_config: MakeConfig) -> None:
    rewound = changed(bench, settings(make_config, rewind=3))
    masks = leave(rewound)
    key = start_key(ticket_key(bench.context, bench.image, CHAIN, 1))
    assert key == f"runs/test/tickets/a-0123abcd/{CHAIN}.start.pt"
    assert why_not(rewound).startswith(f"the weights {bench.store.show(key)} cannot be used: ")
    initial = initial_network(rewound.context.config, CHAIN, 3).state_dict()
    later = {name: 2 * value + 1 for name, value in initial.items()}
    for nothing in (b"", b"no weights", state_bytes({**later, "more": torch.ones(1)}), state_bytes({})):
        bench.store.put(key, nothing)
        assert why_not(rewound).startswith(f"the weights {bench.store.show(key)} cannot be used: ")
    bench.store.put(key, state_bytes(later))
    assert_equal_weights(round_subject(rewound.context, bench.image, CHAIN.round(1)).network, masked(later, masks))
    # The ticket records it, whatever the settings of the run that takes it over are.
    assert_equal_weights(round_subject(bench.context, bench.image, CHAIN.round(1)).network, masked(later, masks))


def test_a_store_in_trouble_is_no_fault_of_the_weights(
    bench: Bench, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewound = changed(bench, settings(make_config, rewind=3))
    leave(rewound)
    get = rewound.context.store.get

    def away(key: str) -> bytes:
        if key.endswith(".start.pt"):
            raise StoreUnavailableError("nobody answers")
        return get(key)

    monkeypatch.setattr(rewound.context.store, "get", away)
    with pytest.raises(StoreUnavailableError, match="nobody answers"):
        round_subject(rewound.context, bench.image, CHAIN.round(1))
