"""Bodies of requests: put together from their parts, and refused when they are too large or not whole."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.apps import odata_request
from isthmus.apps.odata_request import Receive, read_body
from isthmus.errors import Rejected


def receiving(*parts: dict[str, Any]) -> Receive:
    """An ASGI `receive` that gives these, in order."""
    rest = iter(parts)

    async def receive() -> dict[str, Any]:
        return next(rest)

    return receive


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_parts_are_one_body() -> None:
    assert await read_body(receiving(part(b"{}"))) == b"{}"
    assert await read_body(receiving(part(b"{", more=True), part(b"", more=True), part(b"}"))) == b"{}"


async def test_body_that_breaks_off_is_no_body() -> None:
    """Its beginning alone may be well-formed, and would be saved."""
    with pytest.raises(Rejected) as refused:
        await read_body(receiving(part(b"{}", more=True), {"type": "http.disconnect"}))
    assert refused.value.code == "payload_syntax"


@pytest.mark.parametrize("parts", [(part(b"12345"),), (part(b"123", more=True), part(b"45"))])
async def test_body_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch, parts: tuple[Any, ...]) -> None:
    monkeypatch.setattr(odata_request, "MAX_BODY_BYTES", 4)
    with pytest.raises(Rejected) as refused:
        await read_body(receiving(*parts))
    assert refused.value.code == "payload_too_large"
