"""Connections to one database, handed out and taken back in a few operations.

The driver's own pool wraps each connection and starts a task whenever it comes back: 15 of the 38 microseconds that a
short query costs the process. What a connection of ours needs between two uses is nothing: settings are SET LOCAL only,
locks and cursors end with their transaction.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg

CONNECT_SECONDS = 10.0
"""How long a server may take to let us in."""

WAIT_SECONDS = 30.0
"""How long a request waits for a connection before it is told that the database does not answer."""


async def connect(dsn: str, **options: Any) -> asyncpg.Connection:
    """Open a connection. ConnectionError when that fails, for whatever reason.

    A database that is stopped, missing, full, closed to connections or to us is away all the same, and a refusal to let
    us in must not be taken for one of a statement.
    """
    try:
        return await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, **options)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


class Connections:
    """At most `size` connections, opened when they are needed, the one used last handed out first.

    Failing to open one, waiting too long for one, or asking when closed, raises OSError.
    """

    def __init__(self, dsn: str, *, size: int, settings: Mapping[str, str]) -> None:
        self._dsn = dsn
        self._settings = dict(settings)
        self._size = size
        self._unused = size
        self._idle: list[asyncpg.Connection] = []
        self._all: set[asyncpg.Connection] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._all_back = asyncio.Event()
        self._all_back.set()
        self._closed = False

    async def take(self) -> asyncpg.Connection:
        """A connection, to be given back whatever happens."""
        if self._closed:
            raise ConnectionError("the server is stopping")
        if self._unused:
            self._unused -= 1
        else:
            await self._turn()
        self._all_back.clear()
        try:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    return connection
                self._all.discard(connection)
            return await self._open()
        except BaseException:
            self._pass_on()
            raise

    def give_back(self, connection: asyncpg.Connection) -> None:
        """Take a connection back; one that is lost, or still in a transaction, is forgotten."""
        if connection.is_closed() or connection.is_in_transaction():
            connection.terminate()
            self._all.discard(connection)
        else:
            self._idle.append(connection)
        self._pass_on()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for a block."""
        connection = await self.take()
        try:
            yield connection
        finally:
            self.give_back(connection)

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """Run one statement by itself; its rows."""
        connection = await self.take()
        try:
            return cast("list[Any]", await connection.fetch(sql, *arguments))
        finally:
            self.give_back(connection)

    async def fetchrow(self, sql: str, *arguments: Any) -> Any:
        """Run one statement by itself; its first row, None when there is none."""
        async with self.acquire() as connection:
            return await connection.fetchrow(sql, *arguments)

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        """Run one statement by itself; the first column of its first row, None when there is none."""
        async with self.acquire() as connection:
            return await connection.fetchval(sql, *arguments)

    async def execute(self, sql: str, *arguments: Any) -> str:
        """Run one statement by itself; its command tag."""
        async with self.acquire() as connection:
            return cast("str", await connection.execute(sql, *arguments))

    async def close(self) -> None:
        """Hand out no more, wait for those in use, then close all."""
        self._closed = True
        await self._all_back.wait()
        while self._all:
            await self._all.pop().close()

    def terminate(self) -> None:
        """Cut all connections, those in use among them."""
        self._closed = True
        while self._all:
            self._all.pop().terminate()

    async def _open(self) -> asyncpg.Connection:
        connection = await connect(
            self._dsn,
            statement_cache_size=1000,
            max_cacheable_statement_size=1024 * 128,
            server_settings=self._settings,
        )
        self._all.add(connection)
        return connection

    async def _turn(self) -> None:
        """Wait, first come first served, until somebody gives a connection back."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Let the next one have what was just given back."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._unused += 1
        if self._unused == self._size:
            self._all_back.set()
