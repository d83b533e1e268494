"""The answer that shows one record."""

from __future__ import annotations

from isthmus.apps.odata_answer import JSON_HEADERS, Answer, Headers, etag_of, with_context


def record_answer(base: str, context: str, record: str, *, status: int = 200, headers: Headers = ()) -> Answer:
    """A record's JSON with the context address in front."""
    etag = etag_of(record)
    shown = headers if etag is None else ((b"etag", etag), *headers)
    return Answer(status, (*JSON_HEADERS, *shown), with_context(base, context, record))
