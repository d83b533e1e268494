"""Fixtures that all tests share: one PostgreSQL server a session, databases cloned from templates."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from isthmus.store.embedded import EmbeddedPostgres

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def session_directory() -> Iterator[Path]:
    """A short directory of this test session: sockets have short names."""
    with tempfile.TemporaryDirectory(prefix="isth", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)  # noqa: S103  (the server may run as another account)
        yield Path(name)


@pytest.fixture(scope="session")
async def server(session_directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A running PostgreSQL server."""
    server = EmbeddedPostgres(session_directory / "postgresql")
    await server.start()
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
