"""A database with the sample rows, read only; each process of a test run has one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from tests.query.sample_relations import (
    ACCOUNT,
    ACCOUNT_ROWS,
    CUSTOMER,
    ENTITIES,
    SCHEMA,
    TABLES,
    account_id,
)

from isthmus.query.model import Caller, Dialect
from isthmus.query.odata import parse_filter
from isthmus.query.sql import compile_condition

Matching = Callable[..., Awaitable[list[str]]]


@pytest.fixture(scope="session")
async def sample(new_database: Callable[..., Awaitable[str]]) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the sample database."""
    connection = await asyncpg.connect(await new_database(), server_settings={"timezone": "America/New_York"})
    await connection.execute(SCHEMA + ACCOUNT_ROWS)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def matching(sample: asyncpg.Connection) -> Matching:
    """Numbers of the accounts a Dataverse filter finds, bound and inlined alike."""

    async def find(text: str, caller: Caller | None = None) -> list[int]:
        condition = parse_filter(text, ACCOUNT, TABLES)
        parameters: list[object] = []
        where = compile_condition(condition, "a", parameters, relations=TABLES, caller=caller)
        statement = f"select accountid from sample.account a where {where} order by accountid"
        found = [row[0] for row in await sample.fetch(statement, *parameters)]
        if caller is None:
            constant = compile_condition(condition, "a", [], relations=TABLES, inline=True)
            inlined = await sample.fetch(f"select accountid from sample.account a where {constant} order by accountid")
            assert [row[0] for row in inlined] == found
        return [value.int - account_id(0).int for value in found]

    return find


@pytest.fixture(scope="session")
def customers(sample: asyncpg.Connection) -> Matching:
    """Keys of the customers an F&O filter finds."""

    async def find(text: str, dialect: Dialect = "finops") -> list[str]:
        parameters: list[object] = []
        condition = parse_filter(text, CUSTOMER, ENTITIES, dialect)
        where = compile_condition(condition, "c", parameters, relations=ENTITIES)
        statement = f"select dataareaid || ':' || customeraccount from sample.customer c where {where} order by 1"
        return [row[0] for row in await sample.fetch(statement, *parameters)]

    return find
