"""One request as its handler sees it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from isthmus.apps.principal import Principal
from isthmus.dataverse.webapi.preferences import NONE, Preferences, read_preferences
from isthmus.errors import Rejected
from isthmus.observe import Stages
from isthmus.query.odata_path import Segment

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MAX_BODY_BYTES = 32 * 1024 * 1024

_ETAG = re.compile(rb'(?:W/)?"(\d{1,19})"')


class Request(msgspec.Struct):
    """`base` is the absolute address of the service root, without a slash at the end."""

    method: str
    path: str
    segments: tuple[Segment, ...]
    query: str
    headers: dict[bytes, bytes]
    body: bytes
    base: str
    principal: Principal
    correlation_id: str
    stages: Stages

    @property
    def preferences(self) -> Preferences:
        header = self.headers.get(b"prefer")
        return NONE if header is None else read_preferences(header)

    @property
    def only_existing(self) -> bool:
        """`If-Match: *`: write only when the row is there."""
        return self.headers.get(b"if-match", b"").strip() == b"*"

    @property
    def only_new(self) -> bool:
        """`If-None-Match: *`: write only when the row is not there."""
        return self.headers.get(b"if-none-match", b"").strip() == b"*"

    @property
    def expected_version(self) -> int | None:
        """The row version that `If-Match` names; Rejected when it is no ETag."""
        header = self.headers.get(b"if-match", b"").strip()
        if header in (b"", b"*", b"null"):
            return None
        found = _ETAG.fullmatch(header)
        if found is None:
            raise Rejected(
                'The If-Match header must be * or an ETag as it was given with the row, such as W/"1234".',
                code="precondition_syntax",
            )
        return int(found[1])


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request; Rejected (`payload_too_large`) past 32 MB."""
    event = await receive()
    body: bytes = event.get("body", b"")
    if not event.get("more_body"):
        return body
    parts, size = [body], len(body)
    while event.get("more_body"):
        event = await receive()
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise Rejected(
                f"The body is larger than {MAX_BODY_BYTES // 1024 // 1024} MB: send less at a time.",
                code="payload_too_large",
            )
    return b"".join(parts)
