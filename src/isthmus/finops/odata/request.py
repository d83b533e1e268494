"""One request as its handler sees it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from isthmus.apps.principal import Principal
from isthmus.errors import Rejected
from isthmus.observe import Stages
from isthmus.query.odata_path import Segment

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY_BYTES = 32 * 1024 * 1024

_ETAG = re.compile(rb'(?:W/)?"(\d{1,19});(\d{1,19})"')
_PAGE_SIZE = re.compile(rb"odata\.maxpagesize\s*=\s*(\d{1,9})", re.IGNORECASE)
_CROSS_COMPANY = re.compile(r"(?:^|&)cross-company=(?P<value>[^&]*)", re.IGNORECASE)
_TOP = re.compile(r"(?:^|&)(?:\$|%24)top=", re.IGNORECASE)


class Request(msgspec.Struct):
    """`base` is the absolute address of `/data`, as the client wrote it, without a slash at the end."""

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
    def cross_company(self) -> bool:
        """Whether records of all companies are asked for, and not those of the caller's own only."""
        found = _CROSS_COMPANY.search(self.query) if self.query else None
        return found is not None and found["value"].lower() == "true"

    @property
    def page_size(self) -> int | None:
        """The page size that the client prefers; `$top` decides alone where it is given."""
        header = self.headers.get(b"prefer")
        found = _PAGE_SIZE.search(header) if header else None
        return None if found is None or _TOP.search(self.query) else int(found[1])

    @property
    def expected_etag(self) -> tuple[int, int] | None:
        """The (version, RecId) that `If-Match` names; Rejected when it is no ETag."""
        header = self.headers.get(b"if-match", b"").strip()
        if header in (b"", b"*", b"null"):
            return None
        found = _ETAG.fullmatch(header)
        if found is None:
            raise Rejected(
                "The If-Match header must be * or an ETag as it was given with the record.", code="precondition_syntax"
            )
        return int(found[1]), int(found[2])


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
