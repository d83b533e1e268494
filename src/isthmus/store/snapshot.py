"""A long read of one half: its own connection, one snapshot, no limit on its time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from isthmus.errors import Unavailable
from isthmus.store.connections import connect
from isthmus.store.pool import SESSION_SETTINGS, Pool
from isthmus.store.transaction import NO_CONNECTION

SETTINGS = {
    **SESSION_SETTINGS,
    "application_name": "isthmus reader",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
"""Nobody waits for such a read, and it takes no connection from those who save."""


@asynccontextmanager
async def snapshot(pool: Pool) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose statements all see the database as it stood at the first of them.

    Unavailable when the database does not answer.
    """
    try:
        connection = await connect(pool.dsn, server_settings=SETTINGS)
    except OSError as error:
        raise Unavailable(f"The database does not answer: {error}. The same request may be sent again.") from error
    try:
        await connection.execute("begin isolation level repeatable read read only")
        yield connection
    finally:
        # Ends the transaction too. When the server has gone, it can't be told goodbye, and the driver drops the socket.
        with suppress(*NO_CONNECTION):
            await connection.close()
