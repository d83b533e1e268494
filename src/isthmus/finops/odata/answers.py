"""Answers: status, headers and body, as the handlers give them back and as they are kept for repeated requests."""

from __future__ import annotations

from typing import Any

import msgspec

from isthmus.apps.idempotency import Answer

Headers = tuple[tuple[bytes, bytes], ...]

ODATA_VERSION = (b"odata-version", b"4.0")
JSON_HEADERS = ((b"content-type", b"application/json; odata.metadata=minimal"), ODATA_VERSION)
XML_HEADERS = ((b"content-type", b"application/xml"), ODATA_VERSION)
TEXT_HEADERS = ((b"content-type", b"text/plain"), ODATA_VERSION)


def json_answer(value: Any, *, status: int = 200) -> Answer:
    """A value as JSON."""
    return Answer(status, JSON_HEADERS, msgspec.json.encode(value))


def text_answer(text: str) -> Answer:
    """Plain text, as `/$count` and `/$value` are."""
    return Answer(200, TEXT_HEADERS, text.encode())


def no_content() -> Answer:
    """204: done, nothing to show."""
    return Answer(204, (ODATA_VERSION,), b"")


def record_answer(base: str, context: str, record: str, *, status: int = 200, headers: Headers = ()) -> Answer:
    """A record's JSON with the context address in front."""
    body = f'{{"@odata.context":"{base}/$metadata#{context}",{record[1:]}'
    etag = (b"etag", etag_of(record))
    return Answer(status, (*JSON_HEADERS, etag, *headers), body.encode())


def etag_of(record: str) -> bytes:
    """The ETag at the front of a record's JSON."""
    start = len('{"@odata.etag":"W/\\"')
    return f'W/"{record[start : record.index(chr(92), start)]}"'.encode()
