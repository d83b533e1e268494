"""Definitions as data and their application: nothing twice, nothing lost."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.conftest import NewDatabase

from isthmus.errors import Rejected
from isthmus.store.ddl import (
    MAX_IDENTIFIER_BYTES,
    ColumnDefinition,
    ForeignKey,
    IndexDefinition,
    TableDefinition,
    ViewDefinition,
    apply,
    identifier,
)

SCHEMA = "ddl_test"

GROUP = TableDefinition(
    SCHEMA,
    "group",
    (
        ColumnDefinition("id", "uuid", not_null=True),
        ColumnDefinition("name", "text", "''", not_null=True),
        ColumnDefinition("size", "integer"),
    ),
    ("id",),
    (IndexDefinition("group_name_key", ('lower("name")',), unique=True),),
)
MEMBER = TableDefinition(
    SCHEMA,
    "member",
    (ColumnDefinition("id", "uuid", not_null=True), ColumnDefinition("groupid", "uuid")),
    ("id",),
    (IndexDefinition("member_groupid", ('"groupid"',)),),
    (ForeignKey("member_groupid_fk", ("groupid",), SCHEMA, "group", ("id",)),),
)
NAMES = ViewDefinition(SCHEMA, "names", f'select g."name" from {SCHEMA}."group" g')


@pytest.fixture
async def connection(new_database: NewDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(await new_database())
    yield connection
    await connection.close()


async def test_second_run_executes_nothing(connection: asyncpg.Connection) -> None:
    # The referencing table comes first: foreign keys wait until all tables stand.
    first = await apply(connection, SCHEMA, (MEMBER, GROUP), (NAMES,))
    assert any("create table" in statement for statement in first)
    assert await apply(connection, SCHEMA, (MEMBER, GROUP), (NAMES,)) == []


async def test_new_columns_are_added_and_dropped_ones_stay_with_their_data(connection: asyncpg.Connection) -> None:
    await apply(connection, SCHEMA, (GROUP,))
    await connection.execute(f"insert into {SCHEMA}.\"group\" values (gen_random_uuid(), 'a', 7)")
    changed = TableDefinition(
        SCHEMA,
        "group",
        (*GROUP.columns[:2], ColumnDefinition("rank", "bigint", "5", not_null=True)),
        ("id",),
        GROUP.indexes,
    )
    assert await apply(connection, SCHEMA, (changed,))
    row = await connection.fetchrow(f'select size, rank from {SCHEMA}."group"')
    assert tuple(row) == (7, 5)
    assert await apply(connection, SCHEMA, (changed,)) == []


async def test_a_type_is_widened_under_a_view_and_keeps_its_values(connection: asyncpg.Connection) -> None:
    view = ViewDefinition(SCHEMA, "sizes", f'select g."size" from {SCHEMA}."group" g')
    await apply(connection, SCHEMA, (GROUP,), (view,))
    await connection.execute(f"insert into {SCHEMA}.\"group\" values (gen_random_uuid(), 'a', 7)")
    wider = TableDefinition(
        SCHEMA, "group", (*GROUP.columns[:2], ColumnDefinition("size", "bigint")), ("id",), GROUP.indexes
    )
    await apply(connection, SCHEMA, (wider,), (view,))
    await connection.execute(f'update {SCHEMA}."group" set size = {2**40}')
    assert await connection.fetchval(f"select size from {SCHEMA}.sizes") == 2**40
    assert await apply(connection, SCHEMA, (wider,), (view,)) == []


async def test_a_narrower_type_is_refused_and_nothing_is_changed(connection: asyncpg.Connection) -> None:
    await apply(connection, SCHEMA, (GROUP,))
    narrower = TableDefinition(
        SCHEMA,
        "group",
        (*GROUP.columns[:2], ColumnDefinition("size", "smallint"), ColumnDefinition("extra", "text")),
        ("id",),
    )
    with pytest.raises(Rejected) as caught:
        await apply(connection, SCHEMA, (narrower,))
    assert caught.value.code == "column_type_change"
    assert "size" in caught.value.message
    assert await apply(connection, SCHEMA, (GROUP,)) == []


async def test_a_changed_default_index_and_foreign_key_are_replaced(connection: asyncpg.Connection) -> None:
    await apply(connection, SCHEMA, (GROUP, MEMBER))
    group = TableDefinition(
        SCHEMA,
        "group",
        (GROUP.columns[0], ColumnDefinition("name", "text", "'none'", not_null=True), GROUP.columns[2]),
        ("id",),
        (IndexDefinition("group_name_key", ('"name"',), unique=True),),
    )
    member = TableDefinition(
        SCHEMA,
        "member",
        MEMBER.columns,
        ("id",),
        MEMBER.indexes,
        (ForeignKey("member_groupid_fk", ("groupid",), SCHEMA, "group", ("id",), deferrable=False),),
    )
    await apply(connection, SCHEMA, (group, member))
    await connection.execute(f'insert into {SCHEMA}."group" (id) values (gen_random_uuid())')
    await connection.execute(f"insert into {SCHEMA}.\"group\" (id, name) values (gen_random_uuid(), 'NONE')")
    assert (
        await connection.fetchval(f"select string_agg(name, ',' order by name) from {SCHEMA}.\"group\"") == "NONE,none"
    )
    assert not await connection.fetchval("select condeferrable from pg_constraint where conname = 'member_groupid_fk'")
    assert await apply(connection, SCHEMA, (group, member)) == []


async def test_pages_keep_room_for_changed_rows(connection: asyncpg.Connection) -> None:
    """Also in a table that was made before they did: its mark is another one."""
    options = f"select reloptions from pg_class where oid = '{SCHEMA}.member'::regclass"
    await apply(connection, SCHEMA, (GROUP, MEMBER))
    made = await connection.fetchval(options)
    assert [option.partition("=")[0] for option in made] == ["fillfactor"]
    await connection.execute(f"alter table {SCHEMA}.member reset (fillfactor)")
    await connection.execute(f"comment on table {SCHEMA}.member is 'isthmus before'")
    await apply(connection, SCHEMA, (GROUP, MEMBER))
    assert await connection.fetchval(options) == made


async def test_a_missing_index_comes_back(connection: asyncpg.Connection) -> None:
    await apply(connection, SCHEMA, (GROUP,))
    await connection.execute(f"drop index {SCHEMA}.group_name_key")
    statements = await apply(connection, SCHEMA, (GROUP,))
    assert len(statements) == 2
    assert await apply(connection, SCHEMA, (GROUP,)) == []


async def test_foreign_keys_can_wait_for_the_end_of_a_transaction(connection: asyncpg.Connection) -> None:
    await apply(connection, SCHEMA, (GROUP, MEMBER))
    async with connection.transaction():
        await connection.execute("set constraints all deferred")
        await connection.execute(
            f"insert into {SCHEMA}.member values (gen_random_uuid(), '00000000-0000-0000-0000-000000000001')"
        )
        await connection.execute(f"insert into {SCHEMA}.\"group\" (id) values ('00000000-0000-0000-0000-000000000001')")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await connection.execute(f"insert into {SCHEMA}.member values (gen_random_uuid(), gen_random_uuid())")


async def test_two_hundred_tables_are_compared_quickly(connection: asyncpg.Connection) -> None:
    tables = [
        TableDefinition(
            SCHEMA,
            f"t{number}",
            (
                ColumnDefinition("id", "uuid", not_null=True),
                *(ColumnDefinition(f"c{column}", "text") for column in range(40)),
            ),
            ("id",),
            (IndexDefinition(f"t{number}_c0", ('lower("c0")',)),),
        )
        for number in range(200)
    ]
    await apply(connection, SCHEMA, tables)
    began = time.perf_counter()
    assert await apply(connection, SCHEMA, tables) == []
    # The goal is 0.3 s; twice that leaves room for a busy machine.
    assert time.perf_counter() - began < 0.6


def test_long_identifiers_stay_apart_within_the_limit() -> None:
    first, second = identifier("a" * 80, "x"), identifier("a" * 80, "y")
    assert first != second
    assert len(first.encode()) == len(second.encode()) == MAX_IDENTIFIER_BYTES
    assert identifier("a", "b") == "a_b"
