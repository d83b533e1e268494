"""Our errors in F&O's shape, and their documentation."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from isthmus.errors import Bug, Conflict, IsthmusError, NotFound, Rejected, Retriable, Unavailable
from isthmus.finops.odata.errors import ABOUT_THE_REQUEST, QUERY_TYPE, STATUS, wire_error

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Rejected("x"), 400),
        (NotFound("x"), 404),
        (NotFound("x", half="dataverse"), 400),
        (Rejected("x", code="method_not_allowed"), 405),
        (Conflict("x"), 409),
        (Conflict("x", code="version_mismatch"), 412),
        (Retriable("x"), 503),
        (Unavailable("x"), 503),
        (Bug("x"), 500),
        (None, 500),
    ],
)
def test_status(error: IsthmusError | None, status: int) -> None:
    failure = wire_error(error, "id", "CustCustomerV3Entity")
    assert failure.status == status
    assert dict(failure.headers) == ({b"retry-after": b"1"} if status == 503 else {})
    assert msgspec.json.decode(failure.body)["error"]["innererror"]["stacktrace"] == ""


def test_what_is_no_error_of_ours_names_the_entry_in_the_log() -> None:
    assert "the-id" in wire_error(None, "the-id", None).message


def test_a_refusal_of_the_partner_names_no_field_of_this_half() -> None:
    failure = wire_error(Rejected("no such row", field="msdyn_x", half="dataverse"), "id", "E")
    assert failure.message == "Write failed for table row of type 'E'. Infolog: Warning: no such row."


@pytest.mark.parametrize("code", sorted(ABOUT_THE_REQUEST))
def test_a_request_that_reached_no_record_has_no_infolog(code: str) -> None:
    failure = wire_error(Rejected("What was wrong.", code=code), "id", "E")
    assert (failure.message, failure.type) == ("What was wrong.", QUERY_TYPE)


def test_sentences_of_the_infolog_end_once() -> None:
    assert wire_error(Conflict("It is there."), "id", "E").message.endswith("Infolog: Info: It is there.")


def test_every_code_is_documented() -> None:
    documented = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs/reference/errors.md").read_text("utf-8")))
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src/isthmus/finops").rglob("*.py"))
    used = set(re.findall(r'code="([a-z_]+)"', source))
    assert used
    assert used | set(STATUS) <= documented
