"""Connections to the database of one half.

There are two pools on each half: one for saves that begin there, one for saves that begin on the partner half. With a
single pool each side could hold all of its connections while waiting for one of the other side's.
"""

from __future__ import annotations

from typing import Any, Self

import asyncpg

from isthmus.errors import Unavailable
from isthmus.store.connections import Connections
from isthmus.store.transaction import NO_CONNECTION

SESSION_SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "lock_timeout": "3s",
    "statement_timeout": "120s",
    "idle_in_transaction_session_timeout": "15s",
    "jit": "off",
}
"""commit-protocol: waits are bounded, a request has two minutes, an abandoned transaction ends by itself.
JIT compilation costs more than it gives for statements of this size."""


class Pool:
    """Both pools of one half, with the size of each."""

    def __init__(self, dsn: str, origin: Connections, partner: Connections) -> None:
        self.dsn = dsn
        self.origin = origin
        self.partner = partner

    @classmethod
    async def open(cls, dsn: str, *, size: int, name: str) -> Self:
        """Both pools; `size` connections each at most, opened when they are needed."""
        settings = {**SESSION_SETTINGS, "application_name": name}
        return cls(dsn, *(Connections(dsn, size=size, settings=settings) for _ in range(2)))

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """Read outside a transaction. Unavailable when the database does not answer."""
        return await fetch(self.origin, sql, *arguments)

    async def close(self) -> None:
        """Wait for connections in use, then close all."""
        await self.origin.close()
        await self.partner.close()


async def fetch(pool: Connections | asyncpg.Pool, sql: str, *arguments: Any) -> list[Any]:
    """Run one statement by itself; its rows. Unavailable when the database does not answer."""
    try:
        rows: list[Any] = await pool.fetch(sql, *arguments)
    except NO_CONNECTION as error:
        if isinstance(error, ValueError):
            raise  # the driver's complaint about an argument, which is an InterfaceError too
        raise Unavailable(f"The database does not answer: {error}. The same request may be sent again.") from error
    return rows
