"""A Dataverse half without the other: tests share it, each with its own rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
import uvicorn
from tests.conftest import NewDatabase
from tests.support.callers import CALLER

from isthmus import solutions
from isthmus.apps.change import Change, Operation
from isthmus.apps.message import Message, Row
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.webapi import WebApi
from isthmus.metadata.catalog import Catalog

Write = Callable[..., Awaitable[list[Change]]]


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return solutions.catalog()


@pytest.fixture(scope="session")
async def app(templates: dict[str, str], new_database: NewDatabase, catalog: Catalog) -> AsyncIterator[DataverseApp]:
    """The half alone: nothing of the shared data layer is registered on it."""
    app = await DataverseApp.open(await new_database(templates["dataverse"]), catalog, size=5)
    yield app
    await app.close()


@pytest.fixture
def write(app: DataverseApp) -> Write:
    """Run one message in a transaction of its own; returns its changes."""

    async def run(operation: Operation, table: str, *rows: Row, **options: Any) -> list[Change]:
        async with app.context(CALLER, correlation_id="test") as context:
            await app.execute(context, Message(operation=operation, table=table, rows=list(rows), **options))
            await context.commit()
        return context.changes

    return run


@pytest.fixture
def create(write: Write) -> Callable[..., Awaitable[UUID]]:
    """Create one row; returns its id."""

    async def run(table: str, **values: Any) -> UUID:
        row = Row(values=values)
        await write(Operation.CREATE, table, row)
        assert isinstance(row.id, UUID)
        return row.id

    return run


@pytest.fixture
def read(app: DataverseApp) -> Callable[..., Awaitable[dict[str, Any]]]:
    """The stored row, by table and id."""

    async def run(table: str, row_id: object) -> dict[str, Any]:
        key = app.catalog.table(table).primary_id
        record = await app.pool.origin.fetchrow(f'select * from dataverse."{table}" where "{key}" = $1', row_id)
        return dict(record) if record else {}

    return run


class Served(msgspec.Struct):
    """The Web API on a real port, called as the test administrator."""

    base: str
    client: httpx.AsyncClient

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, f"{self.base}/{path}", json=body, headers=sent)

    def id_of(self, answer: httpx.Response) -> UUID:
        """The id in the OData-EntityId header."""
        assert answer.is_success, answer.text
        return UUID(answer.headers["odata-entityid"].rpartition("(")[2].rstrip(")"))


@pytest.fixture(scope="session")
async def api(app: DataverseApp) -> AsyncIterator[Served]:
    web_api = WebApi(app)

    async def authenticated(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope["isthmus.principal"] = CALLER
        await web_api(scope, receive, send)

    config = uvicorn.Config(authenticated, host="127.0.0.1", port=0, lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(timeout=30) as client:
        yield Served(f"http://127.0.0.1:{port}/api/data/v9.2", client)
    server.should_exit = True
    await serving
