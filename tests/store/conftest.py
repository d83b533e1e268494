"""A PostgreSQL server for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from isthmus.store.embedded import EmbeddedPostgres


@pytest.fixture(scope="session")
async def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The DSN of an empty database."""
    server = EmbeddedPostgres(Path(tmp_path_factory.mktemp("postgres")))
    await server.start()
    await server.ensure_database("store_test")
    yield server.dsn("store_test")
    await server.remove()
