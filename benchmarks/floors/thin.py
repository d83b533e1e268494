"""The thinnest server: one ASGI function."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import asyncpg
import msgspec

from benchmarks.floors.queries import NEW, ONE, PAGE, pool


def build(dsn: str) -> Any:
    """The ASGI function over one pool."""
    state: dict[str, asyncpg.Pool] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            state["pool"] = await pool(dsn)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            return await send({"type": "lifespan.shutdown.complete"})
        path: str = scope["path"]
        if scope["method"] == "POST":
            message = await receive()
            task = msgspec.json.decode(message["body"])
            text = await state["pool"].fetchval(NEW, uuid4(), task["subject"], task["description"])
        elif path.startswith("/one/"):
            text = await state["pool"].fetchval(ONE, UUID(path[5:]))
        else:
            minimum = parse_qs(scope["query_string"].decode())["minimum"][0]
            text = await state["pool"].fetchval(PAGE, Decimal(minimum))
        body = text.encode()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": body})

    return app
