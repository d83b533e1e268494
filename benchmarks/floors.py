"""The floors of the read benchmark: servers that do nothing but the query, on the same driver, loop and HTTP parser.

`thin` is one ASGI function; `fastapi` and `litestar` do the same through a framework. Each returns the JSON that
PostgreSQL makes of the rows. Run one with `python -m benchmarks.floors NAME PORT DSN`.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import asyncpg
import uvicorn

COLUMNS = (
    "accountid, accountnumber, name, creditlimit, telephone1, websiteurl, emailaddress1, statecode, statuscode, "
    "createdon, modifiedon, versionnumber"
)
ONE = f"select row_to_json(r)::text from (select {COLUMNS} from dataverse.account where accountid = $1) r"
PAGE = (
    f"select coalesce(json_agg(r), '[]')::text from (select {COLUMNS} from dataverse.account "
    "where creditlimit > $1 order by accountid limit 50) r"
)
NEW = (
    "insert into dataverse.task (activityid, subject, description, createdon, modifiedon, statecode, statuscode) "
    "values ($1, $2, $3, now(), now(), 0, 2) returning row_to_json(task)::text"
)


async def pool(dsn: str) -> asyncpg.Pool:
    return await asyncpg.create_pool(dsn, min_size=4, max_size=20, statement_cache_size=100)


def thin(dsn: str) -> Any:
    """One ASGI function."""
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
            import msgspec

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


def fastapi(dsn: str) -> Any:
    """The bare queries through FastAPI."""
    from contextlib import asynccontextmanager

    from fastapi import FastAPI, Response

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


def litestar(dsn: str) -> Any:
    """The bare queries through Litestar."""
    from litestar import Litestar, Response, get, post

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


def main() -> None:
    name, port, dsn = sys.argv[1:]
    app = {"thin": thin, "fastapi": fastapi, "litestar": litestar}[name](dsn)
    uvicorn.run(
        app, host="127.0.0.1", port=int(port), loop="uvloop", http="httptools", log_level="error", access_log=False
    )


if __name__ == "__main__":
    main()
