"""Every error of the Web API is documented as it is sent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isthmus.dataverse.webapi.errors import WIRE, wire_error
from isthmus.errors import Bug, Conflict, IsthmusError, NotFound, Rejected, Retriable, Unavailable

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reference" / "errors.md"


def raised(pattern: str) -> set[str]:
    """Codes of the errors raised in the files of a pattern; `caller_missing` is a fault of ours that nobody meets."""
    files = list((ROOT / "src" / "isthmus").glob(pattern))
    assert files
    found = {code for path in files for code in re.findall(r'code="([a-z_]+)"', path.read_text())}
    return found - {"caller_missing"}


def test_every_code_is_documented_with_its_status() -> None:
    text = DOCUMENT.read_text()
    for code, (status, wire_code) in WIRE.items():
        assert f"| `{code}` | {status} | {wire_code} |" in text, code


@pytest.mark.parametrize(
    "pattern",
    ["apps/*.py", "dataverse/**/*.py", "dual_write/**/*.py", "query/*.py", "store/t*.py"],
)
def test_every_code_that_a_request_can_meet_is_documented(pattern: str) -> None:
    assert raised(pattern) <= set(re.findall(r"`([a-z_]+)`", DOCUMENT.read_text()))


def test_refused_queries_have_a_code_of_dataverse() -> None:
    assert raised("query/odata*.py") <= WIRE.keys()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Rejected("no"), 400),
        (NotFound("no"), 404),
        (Conflict("no"), 412),
        (Retriable("no"), 503),
        (Unavailable("no"), 503),
        (Bug("no"), 500),
        (None, 500),
    ],
)
def test_other_errors_go_by_their_type(error: IsthmusError | None, status: int) -> None:
    wire = wire_error(error, "11111111-0000-0000-0000-000000000000")
    assert wire.status == status
    assert (b"retry-after" in dict(wire.headers)) == (status == 503)
