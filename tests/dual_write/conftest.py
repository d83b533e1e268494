"""An environment with a world of records, for tests that go through every table map."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.support.both_halves import BothHalves
from tests.support.initial_sync import NewDatabase, Side, build_filled

from isthmus.config import Settings
from isthmus.environments.environment import Environment


@pytest.fixture(scope="session")
async def both(templates: dict[str, str], new_database: Callable[..., Awaitable[str]]) -> AsyncIterator[BothHalves]:
    """An environment of their own: a world of parents, and what these tests make."""
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    environment = await Environment.open(Settings(pool_size=5, **addresses))
    try:
        halves = BothHalves(environment)
        await halves.build_world()
        yield halves
    finally:
        await environment.close()


@pytest.fixture(scope="session")
async def filled(templates: dict[str, str], new_database: NewDatabase) -> Side:
    """Databases whose halves hold the same records of every table map."""
    return await build_filled(templates, new_database)
