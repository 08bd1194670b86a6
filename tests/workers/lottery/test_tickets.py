import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.workers.lottery.small import measurement, weights
from workers.fitting import Fit, FitSettings
from workers.lottery.headers import NewerTicketError, header
from workers.lottery.masks import applied, prunable, sparsity
from workers.lottery.methods import METHODS
from workers.lottery.pruning import at_random
from workers.lottery.tickets import Ticket
from workers.networks import prior_of
from workers.operators import Identity
from workers.seeds import generator_of

CANDIDATE = "158-1111101111001110001100001"


def make(network: str = "dip", keep: int = 1000, exempt: tuple[str, ...] = (), **fields: Any) -> Ticket:
    arguments: dict[str, Any] = {
        "out_channels": 2,
        "width": 8,
        "input_channels": 2,
        "seed": 7,
        "method": "imp",
        "initialisation": 1,
        "round": 5,
        "source": ("waves-1",),
        "task": "denoise",
        "target": "observed",
        "rewind": 0,
    } | fields
    declared = prior_of(network).declare(
        arguments["out_channels"], arguments["width"], input_channels=arguments["input_channels"]
    )
    return Ticket(network=network, masks=at_random(declared, keep, exempt, 0), **arguments)


TINY = make("deep-decoder-5", keep=80, out_channels=3)
"""165 weights, so that the last byte is not full."""


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A ticket's fields and its bits."""
    _, head, bits = data.split(b"\n", 2)
    return json.loads(head), bits


def joined(fields: dict[str, Any], bits: bytes, magic: bytes = b"dip-ticket 1") -> bytes:
    """A ticket with a true digest, whatever the rest holds."""
    others = {name: value for name, value in fields.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(others).encode() + b"\n" + bits).hexdigest()
    return magic + b"\n" + json.dumps(others | {"sha256": digest}).encode() + b"\n" + bits


def fields_of(ticket: Ticket) -> dict[str, Any]:
    return {name: value for name, value in vars(ticket).items() if name != "masks"}


def assert_equal(one: Ticket, other: Ticket) -> None:
    assert fields_of(one) == fields_of(other)
    assert one.masks.keys() == other.masks.keys()
    assert all(torch.equal(mask, other.masks[name]) for name, mask in one.masks.items())


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    network=st.sampled_from(["dip", "dip-inpaint", CANDIDATE, f"nas-dip-{CANDIDATE}", "deep-decoder-5"]),
    keep=st.integers(0, 200),
    fields=st.fixed_dictionaries(
        {
            "out_channels": st.integers(1, 4),
            "width": st.sampled_from([4, 16]),
            "input_channels": st.integers(1, 4),
            "seed": st.integers(0, 2**63 - 1),
            "method": st.sampled_from(METHODS),
            "initialisation": st.integers(0, 9),
            "round": st.integers(0, 99),
            "source": st.lists(st.text(max_size=8), max_size=3).map(tuple),
            "task": st.text(max_size=8),
            "target": st.sampled_from(["observed", "clean"]),
            "rewind": st.integers(0, 3000),
        }
    ),
)
def test_a_ticket_comes_back_from_its_bytes_as_it_was(network: str, keep: int, fields: dict[str, Any]) -> None:
    if network.startswith("deep-decoder"):
        keep = min(keep, 100)
    ticket = make(network, keep, **fields)
    data = ticket.to_bytes()
    again = Ticket.from_bytes(data)
    assert_equal(again, ticket)
    assert again.to_bytes() == data


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.data())
def test_damaged_bytes_are_refused(data: st.DataObject) -> None:
    whole = TINY.to_bytes()
    kind = data.draw(st.sampled_from(["change", "cut", "add", "remove"]))
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.binary(min_size=1, max_size=4))
    damaged = {
        "change": whole[:place] + other + whole[place + len(other) :],
        "cut": whole[:place],
        "add": whole[:place] + other + whole[place:],
        "remove": whole[:place] + whole[place + len(other) :],
    }[kind]
    if damaged != whole:
        with pytest.raises(ValueError, match=r"\w"):
            Ticket.from_bytes(damaged)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.sampled_from(["layers", "source", "seed", "width", "network", "sparsity", "method", "round"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**4000),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "shape", "kept"]), inner),
        max_leaves=6,
    ),
)
def test_whatever_a_field_says_a_ticket_is_read_or_refused(name: str, value: Any) -> None:
    fields, bits = parts(TINY.to_bytes())
    data = joined(fields | {name: value}, bits)
    try:
        ticket = Ticket.from_bytes(data)
    except ValueError:
        return
    assert ticket.to_bytes() == data


def test_the_file_is_what_its_description_says() -> None:
    ticket = make(exempt=("skips.0.*",))
    data = ticket.to_bytes()
    fields, bits = parts(data)
    assert data.startswith(b"dip-ticket 1\n{")
    assert header(data) == fields
    assert {name: fields[name] for name in fields_of(ticket)} == fields_of(ticket) | {"source": ["waves-1"]}
    assert fields["sparsity"] == ticket.sparsity
    assert [layer["name"] for layer in fields["layers"]] == list(ticket.masks)
    assert "skips.0.0" not in ticket.masks
    expected = "".join("01"[int(kept)] for mask in ticket.masks.values() for kept in mask.flatten())
    read = "".join(f"{byte:08b}" for byte in bits)
    assert read[: len(expected)] == expected
    assert set(read[len(expected) :]) <= {"0"}
    assert len(read) - len(expected) < 8
    for layer in fields["layers"]:
        mask = ticket.masks[layer["name"]]
        assert layer == {"name": layer["name"], "shape": list(mask.shape), "kept": int(mask.sum())}
    assert joined(fields, bits) == data


def test_the_order_of_masks_in_memory_does_not_matter() -> None:
    ticket = make()
    other = replace(ticket, masks=dict(reversed(ticket.masks.items())))
    assert list(other.masks) != list(ticket.masks)
    assert other.to_bytes() == ticket.to_bytes()


def test_a_ticket_may_mask_nothing() -> None:
    ticket = replace(make(method="dense", round=0), masks={})
    assert ticket.sparsity == 0
    assert Ticket.from_bytes(ticket.to_bytes()).masks == {}
    assert weights(ticket.build()) == weights(ticket.dense())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": True}, "width in the header is not int"),
        ({"seed": 1.0}, "seed in the header is not int"),
        ({"more": 1}, "exactly the fields"),
        ({"source": [1]}, "source is not a list of names"),
        ({"method": "magic"}, "'magic'"),
        ({"target": "hidden"}, "'hidden'"),
        ({"network": "resnet"}, "resnet"),
        ({"width": 2**17}, "width is not from 1"),
        ({"rewind": -1}, "rewind is below 0"),
        ({"network": "dip"}, "does not fit the network dip"),
        ({"out_channels": 2}, "does not fit the network"),
        ({"sparsity": 0.5}, "do not agree"),
    ],
)
def test_a_header_that_is_wrong_is_refused_with_a_reason(change: dict[str, Any], words: str) -> None:
    fields, bits = parts(TINY.to_bytes())
    with pytest.raises(ValueError, match=words):
        Ticket.from_bytes(joined(fields | change, bits))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [4, 4, 1]}, "not four numbers"),
        ({"shape": [4, 4, 1, 0]}, "not four numbers"),
        ({"shape": [4, 4, 1, -1]}, "not four numbers"),
        ({"shape": [10**6, 10**6, 10**6, 1]}, "bytes of masks"),
        ({"shape": [5, 5, 2, 1]}, "bytes of masks"),
        ({"shape": [25, 1, 1, 1]}, "does not fit the network"),
        ({"kept": 26}, "keeps"),
        ({"name": "layers.1"}, "does not fit the network"),
        ({"name": "layers.4"}, "the same name"),
        ({"more": 1}, "exactly the fields"),
    ],
)
def test_a_layer_that_is_wrong_is_refused_with_a_reason(change: dict[str, Any], words: str) -> None:
    fields, bits = parts(TINY.to_bytes())
    fields["layers"][0] |= change
    with pytest.raises(ValueError, match=words):
        Ticket.from_bytes(joined(fields, bits))


def test_bits_that_are_wrong_are_refused_with_a_reason() -> None:
    whole = TINY.to_bytes()
    fields, bits = parts(whole)
    with pytest.raises(ValueError, match="filled up with zeros"):
        Ticket.from_bytes(joined(fields, bits[:-1] + bytes([bits[-1] | 1])))
    with pytest.raises(ValueError, match="keeps"):
        Ticket.from_bytes(joined(fields, bytes([bits[0] ^ 128]) + bits[1:]))
    with pytest.raises(ValueError, match="bytes of masks"):
        Ticket.from_bytes(joined(fields, bits + b"\0"))
    # As many of each layer are kept, but others.
    one, two = (next(place for place in range(8) if bits[0] >> place & 1 == bit) for bit in (0, 1))
    swapped = bytes([bits[0] ^ (1 << one) ^ (1 << two)]) + bits[1:]
    with pytest.raises(ValueError, match="do not agree"):
        Ticket.from_bytes(whole[: -len(bits)] + swapped)
    assert Ticket.from_bytes(joined(fields, swapped)).to_bytes() != whole


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no ticket"),
        (b"\x89PNG\r\n", "no ticket"),
        (b"dip-ticket 2\n{}\n", "do not begin with"),
        (b"dip-ticket two\n{}\n", "no ticket"),
        (b"dip-ticket 1\n{}", "do not begin with"),
        (b"dip-ticket 1\n[]\n", "not a JSON object"),
        (b"dip-ticket 1\n{\n", "not JSON"),
        (b"dip-ticket 1\n\xff\n", "not JSON"),
        (b"dip-ticket 1\n" + b"[" * 100_000 + b"\n", "not JSON"),
    ],
)
def test_what_is_no_ticket_has_no_header(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        header(data)
    with pytest.raises(ValueError, match=words):
        Ticket.from_bytes(data)


def test_a_ticket_whose_masks_do_not_fit_its_network_cannot_be_made() -> None:
    ticket = make()
    with pytest.raises(ValueError, match="does not fit the network"):
        replace(ticket, width=16)
    name, mask = next(iter(ticket.masks.items()))
    with pytest.raises(ValueError, match="does not fit the network"):
        replace(ticket, masks={name: mask.float()})


def test_a_ticket_rebuilds_the_initial_weights_and_holds_what_it_leaves() -> None:
    ticket = make(exempt=("skips.0.*",))
    expected = prior_of("dip").build(2, 8, input_channels=2, generator=generator_of("fit weights", 7))
    assert weights(ticket.dense()) == weights(expected)
    assert not applied(ticket.dense())
    network = ticket.build()
    assert applied(network).keys() == ticket.masks.keys()
    for name, conv in prunable(expected).items():
        kept = ticket.masks.get(name, torch.ones(conv.weight.shape))
        assert torch.equal(network.get_submodule(name).weight, conv.weight * kept)


def test_the_sparsity_of_a_ticket_counts_exempt_layers() -> None:
    ticket = make(exempt=("skips.0.*",), keep=1000)
    network = ticket.dense()
    total = sum(layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Conv2d))
    exempt = network.get_submodule("skips.0.0").weight.numel()
    assert ticket.sparsity == sparsity(network, ticket.masks) == (total - exempt - 1000) / total


def test_three_lines_fit_a_ticket_to_an_image(tmp_path: Path) -> None:
    made = make(keep=4000)
    (tmp_path / "x.ticket").write_bytes(made.to_bytes())
    seen, operator, fit_settings = measurement(), Identity(), FitSettings(iterations=5)

    ticket = Ticket.from_bytes((tmp_path / "x.ticket").read_bytes())
    network = ticket.build()
    fit = Fit(network, seen, operator, fit_settings, seed=0)

    fit.advance(5)
    assert np.isfinite(fit.result().output).all()
    for name, mask in made.masks.items():
        weight = fit.network.get_submodule(name).weight
        assert not weight[~mask].any()
        assert not torch.equal(weight, ticket.dense().get_submodule(name).weight * mask)


def test_a_ticket_of_a_newer_version_is_told_from_a_damaged_one() -> None:
    newer = TINY.to_bytes().replace(b"dip-ticket 1", b"dip-ticket 12", 1)
    for read in (header, Ticket.from_bytes):
        with pytest.raises(NewerTicketError, match="format 12: a newer version has written them; install that version"):
            read(newer)
