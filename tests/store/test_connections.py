"""Connections are handed out first come first served, never more than their number, and none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest
from tests.conftest import NewDatabase

from isthmus.errors import Unavailable
from isthmus.store import connections as module
from isthmus.store.connections import Connections
from isthmus.store.pool import fetch
from isthmus.store.transaction import Transaction


@pytest.fixture
async def two(postgres_dsn: str) -> AsyncIterator[Connections]:
    connections = Connections(postgres_dsn, size=2, settings={"application_name": "two"})
    yield connections
    connections.terminate()


async def test_no_more_than_their_number_are_open(two: Connections) -> None:
    first, second = await two.take(), await two.take()
    order: list[int] = []

    async def third(number: int) -> None:
        connection = await two.take()
        order.append(number)
        assert await connection.fetchval("select count(*) from pg_stat_activity where application_name = 'two'") == 2
        two.give_back(connection)

    waiting = [asyncio.create_task(third(number)) for number in range(5)]
    await asyncio.sleep(0.05)
    assert order == []
    two.give_back(second)
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4]
    two.give_back(first)


async def test_lost_connection_is_replaced(two: Connections) -> None:
    connection = await two.take()
    connection.terminate()
    two.give_back(connection)
    idle = await two.take()
    two.give_back(idle)
    idle.terminate()
    assert await two.fetchval("select 1") == 1
    taken = [await two.take(), await two.take()]
    assert not any(connection.is_closed() for connection in taken)
    for connection in taken:
        two.give_back(connection)


async def test_open_transaction_does_not_pass_to_the_next(two: Connections) -> None:
    connection = await two.take()
    await connection.execute("begin; create table left_behind ()")
    two.give_back(connection)
    assert await two.fetchval("select to_regclass('left_behind')") is None
    assert (await two.take()) is not connection


async def test_connection_that_cannot_be_opened_leaves_its_place_to_the_next(
    two: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise OSError("no server")

    with monkeypatch.context() as patch:
        patch.setattr(module.asyncpg, "connect", refuse)
        for _ in range(5):
            with pytest.raises(OSError, match="no server"):
                await two.take()
    assert await two.fetchval("select 1") == 1


async def test_waiting_ends(two: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    taken = [await two.take(), await two.take()]
    with pytest.raises(OSError):
        await two.take()
    for connection in taken:
        two.give_back(connection)
    assert [await two.fetchval("select 1"), await two.fetchval("select 2")] == [1, 2]


async def test_cancelled_waiters_lose_nothing(two: Connections) -> None:
    for turns in range(12):
        taken = [await two.take(), await two.take()]
        waiting = asyncio.create_task(two.take())
        await asyncio.sleep(0)
        two.give_back(taken[0])
        for _ in range(turns % 4):
            await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            two.give_back(await waiting)
        two.give_back(taken[1])
    async with asyncio.timeout(2):
        again = [await two.take(), await two.take()]
    for connection in again:
        two.give_back(connection)


async def test_close_waits_for_those_in_use(postgres_dsn: str) -> None:
    connections = Connections(postgres_dsn, size=2, settings={})
    connection = await connections.take()
    closing = asyncio.create_task(connections.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    with pytest.raises(OSError, match="stopping"):
        await connections.take()
    assert await connection.fetchval("select 1") == 1
    connections.give_back(connection)
    await closing
    assert connection.is_closed()


async def test_what_the_driver_says_about_a_statement_is_passed_on(two: Connections) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await two.fetch("select * from nowhere")
    assert await two.fetchrow("select 1, 2") == (1, 2)
    assert await two.execute("select 1") == "SELECT 1"


@pytest.mark.parametrize("refusal", ["closed", "missing", "full", "unknown user", "not listening"])
async def test_every_refusal_to_let_us_in_is_a_connection_that_failed(
    new_database: NewDatabase, refusal: str, tmp_path: Path
) -> None:
    """Whatever the server says: a statement that can't be sent says nothing about the statement."""
    dsn = await new_database()
    address = urlsplit(dsn)
    name = address.path.removeprefix("/")
    other = {
        "missing": address._replace(path=f"/{name}_gone"),
        "unknown user": address._replace(netloc="nobody:x@"),
        "full": address._replace(netloc="crowded:crowded@"),
        "not listening": address._replace(query=f"host={quote(str(tmp_path), safe='')}"),
    }.get(refusal, address)
    server = await asyncpg.connect(urlunsplit(address._replace(path="/postgres")))
    connections = Connections(urlunsplit(other), size=1, settings={})
    try:
        if refusal == "closed":
            await server.execute(f'alter database "{name}" allow_connections false')
        if refusal == "full":
            await server.execute("create role crowded login password 'crowded' connection limit 0")
        with pytest.raises(ConnectionError, match=r"."):
            await connections.fetchval("select 1")
        with pytest.raises(Unavailable):
            await Transaction(connections).begin()
        with pytest.raises(Unavailable):
            await fetch(connections, "select 1")
    finally:
        await server.execute("drop role if exists crowded")
        await server.close()
