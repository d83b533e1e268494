"""Answers: status, headers and body, as the handlers give them back and as they are kept for repeated requests."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from isthmus.apps.idempotency import Answer
from isthmus.metadata.table import Table

JSON_TYPE = (b"content-type", b"application/json; odata.metadata=minimal")
ODATA_VERSION = (b"odata-version", b"4.0")

JSON_HEADERS = (JSON_TYPE, ODATA_VERSION)
XML_HEADERS = ((b"content-type", b"application/xml"), ODATA_VERSION)
TEXT_HEADERS = ((b"content-type", b"text/plain"), ODATA_VERSION)
BARE_HEADERS = (ODATA_VERSION,)

Headers = tuple[tuple[bytes, bytes], ...]


def json_answer(value: Any, *, status: int = 200, headers: Headers = ()) -> Answer:
    """A value as JSON."""
    return Answer(status, (*JSON_HEADERS, *headers), msgspec.json.encode(value))


def text_answer(text: str) -> Answer:
    """Plain text, as `/$count` and `/$value` are."""
    return Answer(200, TEXT_HEADERS, text.encode())


def no_content(headers: Headers = ()) -> Answer:
    """204: done, nothing to show."""
    return Answer(204, (*BARE_HEADERS, *headers), b"")


def row_address(base: str, table: Table, row_id: UUID | int | None) -> str:
    """The absolute address of a row: one GUID in brackets, which clients cut out."""
    return f"{base}/{table.entity_set_name}({row_id})"


def entity_id(base: str, table: Table, row_id: UUID | int | None) -> tuple[bytes, bytes]:
    """The header that names the row written."""
    return (b"odata-entityid", row_address(base, table, row_id).encode())


def with_context(base: str, context: str, record: str) -> bytes:
    """A record's JSON with the context address in front."""
    return f'{{"@odata.context":"{base}/$metadata#{context}",{record[1:]}'.encode()


def etag_of(record: str) -> bytes | None:
    """The ETag at the front of a record's JSON; None for tables without row versions."""
    if not record.startswith('{"@odata.etag":"W/\\"'):
        return None
    start = len('{"@odata.etag":"W/\\"')
    return f'W/"{record[start : record.index(chr(92), start)]}"'.encode()
