"""The bare queries through FastAPI."""

from __future__ import annotations

from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from fastapi import FastAPI, Response

from benchmarks.floors.queries import NEW, ONE, PAGE, pool


def build(dsn: str) -> Any:
    """The application over one pool."""
    state: dict[str, asyncpg.Pool] = {}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        state["pool"] = await pool(dsn)
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/one/{id_}")
    async def one(id_: UUID) -> Response:
        return Response(await state["pool"].fetchval(ONE, id_), media_type="application/json")

    @app.get("/page")
    async def page(minimum: Decimal) -> Response:
        return Response(await state["pool"].fetchval(PAGE, minimum), media_type="application/json")

    @app.post("/new")
    async def new(task: dict[str, str]) -> Response:
        text = await state["pool"].fetchval(NEW, uuid4(), task["subject"], task["description"])
        return Response(text, media_type="application/json")

    return app
