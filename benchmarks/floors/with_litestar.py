"""The bare queries through Litestar."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from litestar import Litestar, Response, get, post

from benchmarks.floors.queries import NEW, ONE, PAGE, pool


def build(dsn: str) -> Any:
    """The application over one pool."""
    state: dict[str, asyncpg.Pool] = {}

    async def start() -> None:
        state["pool"] = await pool(dsn)

    @get("/one/{id_:uuid}")
    async def one(id_: UUID) -> Response[bytes]:
        return Response((await state["pool"].fetchval(ONE, id_)).encode(), media_type="application/json")

    @get("/page")
    async def page(minimum: float) -> Response[bytes]:
        return Response((await state["pool"].fetchval(PAGE, Decimal(minimum))).encode(), media_type="application/json")

    @post("/new")
    async def new(data: dict[str, str]) -> Response[bytes]:
        text = await state["pool"].fetchval(NEW, uuid4(), data["subject"], data["description"])
        return Response(text.encode(), media_type="application/json")

    return Litestar([one, page, new], on_startup=[start])
