"""What the tests of this folder share."""

from __future__ import annotations

import pytest
from tests.conftest import NewDatabase


@pytest.fixture(scope="session")
async def postgres_dsn(new_database: NewDatabase) -> str:
    """The address of an empty database."""
    return await new_database()
