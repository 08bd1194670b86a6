import io
import json

import numpy as np
import pytest

from orchestrator.errors import NewerFormatError
from orchestrator.keep.content import WrongContentError, check_bank, check_input, read_content
from orchestrator.run.layout import bank_root
from orchestrator.run.places import Kind
from tests.orchestrator.keep.whole import Whole, png, ticket

SPOILT = (b"", b"{", b"[" * 100_000, b"PK\x03\x04", b"PAR1" + bytes(64), png(1)[:-3], ticket()[:-1], b"\xff")
HASHED = "images/aa/" + "a" * 64 + ".png"


def test_any_content_of_any_kind_is_right_or_wrong_and_the_message_is_one_line() -> None:
    for kind in Kind:
        for data in SPOILT:
            message = ""
            try:
                read_content(kind, data, "here")
            except WrongContentError as error:
                message = str(error)
            assert "\n" not in message


def test_a_newer_record_or_ticket_is_said_to_be_one() -> None:
    for kind, data in ((Kind.ROWS, b'{"format": 99}'), (Kind.TICKET, ticket().replace(b"ticket 1", b"ticket 99"))):
        with pytest.raises(NewerFormatError, match="here"):
            read_content(kind, data, "here")


def test_outputs_lack_no_array_and_no_byte(whole: Whole) -> None:
    data = whole.store.get(whole.arrays())
    read_content(Kind.ARRAYS, data, "")
    file = io.BytesIO()
    np.savez(file, output=np.zeros(3))
    with pytest.raises(WrongContentError, match="lacks some of the arrays"):
        read_content(Kind.ARRAYS, file.getvalue(), "")
    with pytest.raises(WrongContentError, match=r"no whole archive|is damaged"):
        read_content(Kind.ARRAYS, data[:-1], "")


def test_an_input_is_what_its_name_says_and_a_mask_is_whole() -> None:
    with pytest.raises(WrongContentError, match="not what its name says"):
        check_input(HASHED, png(1))
    check_input("images/aa/" + "a" * 64 + "-white.png", png(1))
    with pytest.raises(WrongContentError, match="truncated or damaged"):
        check_input("images/aa/" + "a" * 64 + "-white.png", png(1)[:-20])


def test_a_bank_is_described_under_its_own_name() -> None:
    root = bank_root({"height": 64})
    check_bank(f"{root}/key.json", json.dumps({"height": 64}).encode())
    for data in (b'{"height": 65}', b"{", b"[" * 100_000):
        with pytest.raises(WrongContentError):
            check_bank(f"{root}/key.json", data)
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    check_bank(f"{root}/part-0.npy", file.getvalue())
    for data in (b"", file.getvalue()[:-1], b"\x93NUMPY"):
        with pytest.raises(WrongContentError, match="no part of a bank"):
            check_bank(f"{root}/part-0.npy", data)
