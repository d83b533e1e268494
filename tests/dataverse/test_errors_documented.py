"""Every error of the Web API is documented as it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.dataverse.webapi.errors import WIRE, wire_error
from isthmus.errors import Bug, Conflict, NotFound, Rejected, Retriable, Unavailable

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"


def test_every_code_is_documented_with_its_status() -> None:
    text = DOCUMENT.read_text()
    for code, (status, wire_code) in WIRE.items():
        assert f"| `{code}` | {status} | {wire_code} |" in text, code


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Rejected("no"), 400),
        (NotFound("no"), 404),
        (Conflict("no"), 412),
        (Retriable("no"), 503),
        (Unavailable("no"), 503),
        (Bug("no"), 500),
        (ZeroDivisionError("secret"), 500),
    ],
)
def test_other_errors_go_by_their_type(error: Exception, status: int) -> None:
    wire = wire_error(error, "11111111-0000-0000-0000-000000000000")
    assert wire.status == status
    assert b"secret" not in wire.body
    assert (b"retry-after" in dict(wire.headers)) == (status == 503)
