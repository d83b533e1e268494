"""A Dataverse half on a PostgreSQL server of its own: migrated and seeded once, each test with its own rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from isthmus.apps.change import Change, Operation
from isthmus.apps.message import Message, Row
from isthmus.apps.principal import Principal
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.schema import migrate
from isthmus.dataverse.seed import seed
from isthmus.metadata.catalog import Catalog
from isthmus.solutions import catalog as shipped_catalog
from isthmus.store.embedded import EmbeddedPostgres

ADMINISTRATOR = Principal(
    "user",
    "11111111-1111-4111-8111-111111111111",
    "Test Administrator",
    frozenset({"dataverse", "finops"}),
    float("inf"),
)

Write = Callable[..., Awaitable[list[Change]]]


@pytest.fixture(scope="session")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return shipped_catalog()


@pytest.fixture(scope="session")
async def database(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog) -> AsyncIterator[str]:
    """The DSN of a migrated and seeded database."""
    server = EmbeddedPostgres(Path(tmp_path_factory.mktemp("postgres")))
    await server.start()
    await server.ensure_database("dataverse_test")
    dsn = server.dsn("dataverse_test")
    connection = await asyncpg.connect(dsn)
    await migrate(connection, catalog)
    await seed(connection, catalog, [ADMINISTRATOR])
    await connection.close()
    yield dsn
    await server.remove()


@pytest.fixture(scope="session")
async def app(database: str, catalog: Catalog) -> AsyncIterator[DataverseApp]:
    app = await DataverseApp.open(database, catalog, size=5)
    yield app
    await app.close()


@pytest.fixture
def write(app: DataverseApp) -> Write:
    """Run one message in a transaction of its own; returns its changes."""

    async def run(operation: Operation, table: str, *rows: Row, **options: Any) -> list[Change]:
        async with app.context(ADMINISTRATOR, correlation_id="test") as context:
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
