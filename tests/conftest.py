"""Fixtures that all tests share: one PostgreSQL server a session, databases cloned from templates."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.support.callers import CALLER

from isthmus import solutions
from isthmus.config import Settings
from isthmus.environments.databases import migrate_all
from isthmus.environments.environment import Environment
from isthmus.store.embedded import EmbeddedPostgres

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def session_directory() -> Iterator[Path]:
    """A short directory of this test session: sockets have short names."""
    with tempfile.TemporaryDirectory(prefix="isth", ignore_cleanup_errors=True) as name:
        # The server may run as another account.
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
async def server(session_directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A running PostgreSQL server. It does not wait for the disk: these tests end processes, not machines."""
    server = EmbeddedPostgres(session_directory / "postgresql")
    await server.start()
    connection = await asyncpg.connect(server.dsn("postgres"))
    await connection.execute("alter system set fsync = off")
    await connection.execute("select pg_reload_conf()")
    await connection.close()
    try:
        yield server
    finally:
        await server.stop("immediate")


NewDatabase = Callable[..., Awaitable[str]]


@pytest.fixture(scope="session")
async def new_database(server: EmbeddedPostgres) -> NewDatabase:
    """Makes a database, empty or cloned from `template`, and returns its address."""

    async def make(template: str | None = None, name: str | None = None) -> str:
        name = name or f"test_{os.getpid()}_{next(_numbers)}"
        if template is None:
            await server.ensure_database(name)
        else:
            connection = await asyncpg.connect(server.dsn("postgres"))
            await connection.execute(f'create database "{name}" template "{template}" strategy wal_log')
            await connection.close()
        return server.dsn(name)

    return make


@pytest.fixture(scope="session")
async def templates(new_database: NewDatabase) -> dict[str, str]:
    """Names of migrated and seeded databases, to be cloned: control, dataverse, finops; two legal entities stand."""
    names = {kind: f"template_{kind}" for kind in ("control", "dataverse", "finops")}
    addresses = {kind: await new_database(name=name) for kind, name in names.items()}
    await migrate_all(
        Settings(**{f"{kind}_dsn": address for kind, address in addresses.items()}), solutions.catalog(), [CALLER]
    )
    return names


@pytest.fixture(scope="session")
async def halves(templates: dict[str, str], new_database: NewDatabase) -> AsyncIterator[Environment]:
    """An open environment that the tests of one process share: each uses keys of its own."""
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    environment = await Environment.open(Settings(pool_size=5, **addresses))
    try:
        yield environment
    finally:
        await environment.close()
