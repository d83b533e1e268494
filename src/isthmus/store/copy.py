"""COPY from one database into another: what a query yields goes as bytes into a table, without becoming Python values.

Memory stays bounded however many rows there are: the source stops sending while the destination does not keep up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg

from isthmus.errors import Unavailable
from isthmus.store.transaction import LOST

PIECES = 8
"""Pieces on their way from one connection to the other; the driver makes them of 64 to 256 KiB."""


async def pump(
    source: asyncpg.Connection,
    query: str,
    destination: asyncpg.Connection,
    schema: str,
    table: str,
    columns: Sequence[str],
    *,
    new_table: bool = False,
) -> int:
    """Copy the rows of `query` into these columns of a table, in this order; returns how many.

    `new_table`: the destination's open transaction made the table. Its rows then count as seen by everybody from the
    start, and an index alone answers for them.

    Values cross in PostgreSQL's binary format: the types must be the same on both sides. When this raises, nothing has
    been copied: Unavailable when a connection is lost, the driver's error for whatever PostgreSQL refused.
    """
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES)

    async def arriving() -> AsyncIterator[bytes]:
        while (piece := await pieces.get()) is not None:
            yield piece

    async def read() -> None:
        await source.copy_from_query(query, output=pieces.put, format="binary")
        await pieces.put(None)

    async def write() -> str:
        return str(
            await destination.copy_to_table(
                table,
                source=arriving(),
                schema_name=schema,
                columns=list(columns),
                format="binary",
                freeze=new_table,
            )
        )

    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(read())
            written = both.create_task(write())
    except BaseExceptionGroup as group:
        error = group.exceptions[0]
        if isinstance(error, (*LOST, asyncpg.InterfaceError)):
            raise Unavailable(f"The connection to a database was lost while rows were copied: {error}") from error
        raise error from None
    return int(written.result().split()[-1])
