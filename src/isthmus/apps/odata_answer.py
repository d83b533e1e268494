"""Answers: status, headers and body, as handlers give them back and as they are kept for repeated requests."""

from __future__ import annotations

from typing import Any

import msgspec

Headers = tuple[tuple[bytes, bytes], ...]

ODATA_VERSION = (b"odata-version", b"4.0")
JSON_HEADERS: Headers = ((b"content-type", b"application/json; odata.metadata=minimal"), ODATA_VERSION)
XML_HEADERS: Headers = ((b"content-type", b"application/xml"), ODATA_VERSION)
TEXT_HEADERS: Headers = ((b"content-type", b"text/plain"), ODATA_VERSION)

_ETAG_FRONT = '{"@odata.etag":"W/\\"'


class Answer(msgspec.Struct, frozen=True):
    """What is answered: status, headers as (name, value) bytes, body."""

    status: int
    headers: Headers
    body: bytes

    def with_header(self, name: bytes, value: bytes) -> Answer:
        """The same answer with one header more."""
        return Answer(self.status, (*self.headers, (name, value)), self.body)


def json_answer(value: Any, *, status: int = 200, headers: Headers = ()) -> Answer:
    """A value as JSON."""
    return Answer(status, (*JSON_HEADERS, *headers), msgspec.json.encode(value))


def text_answer(text: str) -> Answer:
    """Plain text, as `/$count` and `/$value` are."""
    return Answer(200, TEXT_HEADERS, text.encode())


def no_content(headers: Headers = ()) -> Answer:
    """204: done, nothing to show."""
    return Answer(204, (ODATA_VERSION, *headers), b"")


def with_context(base: str, context: str, record: str) -> bytes:
    """A record's JSON with the context address in front."""
    return f'{{"@odata.context":"{base}/$metadata#{context}",{record[1:]}'.encode()


def etag_of(record: str) -> bytes | None:
    """The ETag at the front of a record's JSON; None where rows have no versions."""
    if not record.startswith(_ETAG_FRONT):
        return None
    start = len(_ETAG_FRONT)
    return f'W/"{record[start : record.index(chr(92), start)]}"'.encode()
