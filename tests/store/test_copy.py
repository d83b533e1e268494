"""COPY between databases: every value arrives as it was, memory is bounded, and nothing stands when a side fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import psutil
import pytest
from tests.conftest import NewDatabase

from isthmus.errors import Unavailable
from isthmus.store.copy import pump

VALUES = """
select n::bigint as id, 'tab' || chr(9) || 'line' || chr(10) || 'ü' || n as text, (n / 7.0)::numeric as number,
       n % 2 = 0 as flag, timestamptz '2026-01-01 00:00:00+00' + n * interval '1 second' as moment,
       date '2026-01-01' + n as day, md5(n::text)::uuid as guid, case when n % 3 = 0 then null else n end as maybe,
       array['a', null, n::text] as texts
from generate_series(1, {rows}) n
"""
COLUMNS = {
    "id": "bigint",
    "text": "text",
    "number": "numeric",
    "flag": "boolean",
    "moment": "timestamptz",
    "day": "date",
    "guid": "uuid",
    "maybe": "integer",
    "texts": "text[]",
}
DIGEST = "select md5(string_agg(r::text, '|' order by id)) from ({rows}) r"


@pytest.fixture
async def sides(new_database: NewDatabase) -> AsyncIterator[tuple[asyncpg.Connection, asyncpg.Connection]]:
    source, destination = [await asyncpg.connect(await new_database()) for _ in range(2)]
    await destination.execute('create schema "to"')
    columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
    await destination.execute(f'create table "to".here ({columns})')
    yield source, destination
    await source.close()
    await destination.close()


async def test_values_arrive_as_they_were(sides: tuple[asyncpg.Connection, asyncpg.Connection]) -> None:
    source, destination = sides
    query = VALUES.format(rows=5000)
    assert await pump(source, query, destination, "to", "here", list(COLUMNS)) == 5000
    expected = await source.fetchval(DIGEST.format(rows=query))
    assert await destination.fetchval(DIGEST.format(rows='select * from "to".here')) == expected


async def test_nothing_is_a_valid_copy(sides: tuple[asyncpg.Connection, asyncpg.Connection]) -> None:
    source, destination = sides
    assert await pump(source, VALUES.format(rows=0), destination, "to", "here", list(COLUMNS)) == 0


async def test_a_slow_destination_holds_the_source_back(new_database: NewDatabase) -> None:
    """200 MB are to go through while the destination's table is locked for a second: they must not gather here."""
    address = await new_database()
    source, destination, holder = [await asyncpg.connect(address) for _ in range(3)]
    await destination.execute("create table wide (n bigint, filling text)")
    process, most = psutil.Process(), 0
    before = process.memory_info().rss
    await holder.execute("begin; lock table wide")
    query = "select n::bigint, repeat(md5(n::text), 32) from generate_series(1, 200000) n"
    copying = asyncio.create_task(pump(source, query, destination, "public", "wide", ["n", "filling"]))
    for step in range(10_000):
        if step == 100:
            await holder.execute("rollback")
        most = max(most, process.memory_info().rss)
        await asyncio.wait((copying,), timeout=0.01)
        if copying.done():
            break
    assert step > 100 and await copying == 200_000
    assert most - before < 40 * 2**20
    for connection in (source, destination, holder):
        await connection.close()


async def test_what_the_destination_refuses_leaves_nothing(
    sides: tuple[asyncpg.Connection, asyncpg.Connection],
) -> None:
    source, destination = sides
    await destination.execute('alter table "to".here add check (id <> 4000)')
    with pytest.raises(asyncpg.CheckViolationError):
        await pump(source, VALUES.format(rows=200_000), destination, "to", "here", list(COLUMNS))
    await both_still_work(source, destination)


async def test_what_the_source_refuses_leaves_nothing(sides: tuple[asyncpg.Connection, asyncpg.Connection]) -> None:
    source, destination = sides
    query = f"select * from ({VALUES.format(rows=50_000)}) r where 1 / (id - 40000) < 2"
    with pytest.raises(asyncpg.DivisionByZeroError):
        await pump(source, query, destination, "to", "here", list(COLUMNS))
    await both_still_work(source, destination)


async def test_cancelling_leaves_nothing(sides: tuple[asyncpg.Connection, asyncpg.Connection]) -> None:
    source, destination = sides
    query = f"select * from ({VALUES.format(rows=10)}) r where pg_sleep(5) is not null"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await pump(source, query, destination, "to", "here", list(COLUMNS))
    await both_still_work(source, destination)


async def test_a_lost_connection_is_unavailable(sides: tuple[asyncpg.Connection, asyncpg.Connection]) -> None:
    source, destination = sides
    query = f"select * from ({VALUES.format(rows=100_000)}) r where pg_sleep(0.0001) is not null"
    copying = asyncio.create_task(pump(source, query, destination, "to", "here", list(COLUMNS)))
    await asyncio.sleep(0.3)
    pid = source.get_server_pid()
    await asyncio.to_thread(psutil.Process(pid).terminate)
    with pytest.raises(Unavailable):
        await copying
    assert await destination.fetchval('select count(*) from "to".here') == 0


async def both_still_work(source: asyncpg.Connection, destination: asyncpg.Connection) -> None:
    assert await destination.fetchval('select count(*) from "to".here') == 0
    assert await source.fetchval("select 1") == 1
