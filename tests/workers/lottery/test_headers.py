import subprocess
import sys

import pytest

from workers.lottery.headers import MAGIC, NewerTicketError, check_digest, digest, header_line

FIELDS = {"network": "dip", "round": 1}
TICKET = MAGIC + b"\n" + header_line({**FIELDS, "sha256": digest(FIELDS, b"\xff\x00")}) + b"\xff\x00"


def test_a_whole_ticket_has_the_content_of_its_digest_and_no_other_has() -> None:
    check_digest(TICKET)
    for place in range(len(MAGIC), len(TICKET)):
        spoilt = bytearray(TICKET)
        spoilt[place] ^= 1
        with pytest.raises(ValueError, match=r"."):
            check_digest(bytes(spoilt))
    for length in range(len(TICKET)):
        with pytest.raises(ValueError, match=r"."):
            check_digest(TICKET[:length])


def test_a_ticket_of_a_newer_version_is_said_to_be_one() -> None:
    with pytest.raises(NewerTicketError, match="have format 99"):
        check_digest(TICKET.replace(MAGIC, b"dip-ticket 99"))


def test_a_digest_is_checked_without_torch() -> None:
    code = "import sys, workers.lottery.headers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
