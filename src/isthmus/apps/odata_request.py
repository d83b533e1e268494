"""One request to an OData root, as its handlers see it on either half."""

from __future__ import annotations

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


class ODataRequest(msgspec.Struct):
    """`base` is the absolute address of the service root as the client wrote it, without a slash at the end."""

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


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request.

    Rejected: `payload_too_large` past 32 MB, `payload_syntax` when the client went away before its end.
    """
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        received = await receive()
        if received["type"] == "http.disconnect":
            raise Rejected("The connection ended before the body did: send the request again.", code="payload_syntax")
        parts.append(received.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise Rejected(
                f"The body is larger than {MAX_BODY_BYTES // 1024 // 1024} MB: send less at a time.",
                code="payload_too_large",
            )
        more = received.get("more_body", False)
    return b"".join(parts)
