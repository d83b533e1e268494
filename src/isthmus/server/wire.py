"""The little of ASGI that the server itself speaks: types, headers, short answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_HOST = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of this (lower case) name; empty when there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""


def base_url(scope: Scope) -> str:
    """Scheme and host as the client used them, without a slash at the end."""
    return f"{scope['scheme']}://{header(scope, b'host').decode('latin-1')}"


def names_host(scope: Scope) -> bool:
    """Whether the `Host` header is one host and maybe a port: all addresses in answers begin with it."""
    return _HOST.fullmatch(header(scope, b"host")) is not None


def client_address(scope: Scope) -> str:
    """The address the request came from; empty when it is not known."""
    client = scope.get("client")
    return client[0] if client else ""


async def answer(
    send: Send,
    status: int,
    body: bytes,
    headers: list[tuple[bytes, bytes]],
    media_type: bytes = b"application/json; charset=utf-8",
) -> None:
    """Send one whole JSON answer."""
    length = (b"content-length", str(len(body)).encode())
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-type", media_type), length, *headers]}
    )
    await send({"type": "http.response.body", "body": body})
