"""A database that belongs elsewhere is refused before anything is made in it."""

from __future__ import annotations

import asyncpg
import pytest
from tests.conftest import NewDatabase
from tests.support.callers import CALLER

from isthmus import solutions
from isthmus.config import Settings
from isthmus.environments.databases import migrate_all
from isthmus.errors import Rejected


async def refusal(settings: Settings) -> str:
    with pytest.raises(Rejected) as refused:
        await migrate_all(settings, solutions.catalog(), [CALLER])
    assert refused.value.code == "foreign_half"
    return refused.value.message


async def schemas_of(address: str) -> set[str]:
    connection = await asyncpg.connect(address)
    try:
        return {row[0] for row in await connection.fetch("select nspname from pg_namespace")}
    finally:
        await connection.close()


async def test_the_half_of_another_environment_is_refused_untouched(
    templates: dict[str, str], new_database: NewDatabase
) -> None:
    foreign = await new_database(templates["dataverse"])
    settings = Settings(
        control_dsn=await new_database(), dataverse_dsn=await new_database(), finops_dsn=foreign, pool_size=1
    )
    assert "is the dataverse half of another environment" in await refusal(settings)
    assert "finops" not in await schemas_of(foreign)


async def test_one_database_is_not_both_halves(new_database: NewDatabase) -> None:
    both = await new_database()
    settings = Settings(control_dsn=await new_database(), dataverse_dsn=both, finops_dsn=both, pool_size=1)
    assert "as the finops half is the dataverse half of this environment" in await refusal(settings)
    assert not {"dataverse", "finops"} & await schemas_of(both)
