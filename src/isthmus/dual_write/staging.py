"""Staging tables: the projected records of one part of an initial sync, copied as bytes to the half they are for.

They are unlogged: a database that breaks down loses them, and the part is then staged anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from isthmus.dual_write.chunk import STAGING
from isthmus.dual_write.exchange import RowId
from isthmus.dual_write.initial_sync_part import Part
from isthmus.dual_write.leg import Leg
from isthmus.errors import Unavailable
from isthmus.query.quoting import quote_identifier
from isthmus.store.connections import Connections, connect
from isthmus.store.copy import pump
from isthmus.store.ddl import identifier, qualified
from isthmus.store.pool import SESSION_SETTINGS, Pool, fetch
from isthmus.store.transaction import Transaction

BUCKETS = 4096
"""Buckets that the gate divides keys into."""

CHUNK = 4000
"""Records of a chunk, about: enough for sets to pay, few enough for live saves to wait for it."""

KEYS = ("_id", "_key")
"""Columns of a staging table that only says which records there are."""

_EXISTS = "select to_regclass($1) is not null"


def staging_name(part: Part) -> str:
    """The name of a part's table in the schema of staging tables."""
    return identifier("part", part.request.hex[:12], part.source, part.company, part.table_map)


def buckets_of_a_chunk(records: int) -> int:
    """How many buckets make a chunk of about CHUNK records."""
    return max(1, min(BUCKETS, BUCKETS * CHUNK // max(records, 1)))


async def stage(source: Pool, destination: Pool, leg: Leg, part: Part) -> int:
    """Copy the records of a part that take part into its staging table, made anew; how many they are."""
    query = leg.stage([part.company] if part.company else None)
    columns = {quote_identifier(name): type_ for name, type_ in leg.staged.items()}
    async with _connected(source) as reader, _connected(destination) as writer, writer.transaction():
        await _make(writer, part, columns)
        await pump(reader, query, writer, STAGING, staging_name(part), list(leg.staged), new_table=True)
        await writer.execute(f"create index on {_table(part)} (_bucket)")
        await writer.execute(f"analyze {_table(part)}")
        return int(await writer.fetchval(f"select count(*) from {_table(part)}"))  # noqa: S608  (quoted)


async def stage_lacking(source: Pool, destination: Pool, leg: Leg, back: Leg, part: Part) -> tuple[int, int]:
    """Stage the ids of those records whose key no record of the destination has that takes part in the leg `back`.

    Returns how many records take part at the source, and how many of them the destination lacks.
    """
    companies = [part.company] if part.company else None
    names = ", ".join(KEYS)
    async with _connected(source) as reader, _connected(destination) as writer, writer.transaction():
        await _make(writer, part, {name: leg.staged[name] for name in KEYS})
        query = f"select {names} from ({leg.stage(companies)}) r"  # noqa: S608  (definitions)
        records = await pump(reader, query, writer, STAGING, staging_name(part), KEYS, new_table=True)
        await writer.execute(f"analyze {_table(part)}")
        await writer.execute(
            f"delete from {_table(part)} s using (select _key from ({back.stage(companies)}) r) there "  # noqa: S608
            "where there._key = s._key"
        )
        await writer.execute(f"create index on {_table(part)} (_id)")
        return records, int(await writer.fetchval(f"select count(*) from {_table(part)}"))  # noqa: S608  (quoted)


async def stands(pool: Connections, part: Part) -> bool:
    """Whether all staged records of a part are still there."""
    if not (await fetch(pool, _EXISTS, _table(part)))[0][0]:
        return False
    rows = await fetch(pool, f"select count(*) from {_table(part)}")  # noqa: S608  (quoted)
    return bool(rows[0][0] == part.total)


async def ids_after(pool: Connections, part: Part, last_id: RowId | None, limit: int) -> list[RowId]:
    """The next staged ids of a part."""
    type_ = "uuid" if part.source == "dataverse" else "bigint"
    rows = await fetch(
        pool,
        f"select _id from {_table(part)} where $1::{type_} is null or _id > $1 order by _id limit {int(limit)}",  # noqa: S608
        last_id,
    )
    return [row[0] for row in rows]


async def ids_of_buckets(transaction: Transaction, part: Part, first: int, last: int) -> list[RowId]:
    """The staged ids of some buckets, the last included."""
    rows = await transaction.rows(
        f"select _id from {_table(part)} where _bucket between $1 and $2 order by _id",  # noqa: S608  (quoted)
        first,
        last,
    )
    return [row[0] for row in rows]


async def filled_buckets(transaction: Transaction, part: Part, first: int, last: int) -> list[int]:
    """Those of some buckets, the last included, that hold records."""
    rows = await transaction.rows(
        f"select distinct _bucket from {_table(part)} where _bucket between $1 and $2 order by 1",  # noqa: S608
        first,
        last,
    )
    return [row[0] for row in rows]


async def drop(pool: Connections, tables: Collection[str]) -> None:
    """Remove staging tables by name; those that are gone already don't matter."""
    for table in tables:
        await fetch(pool, f"drop table if exists {qualified(STAGING, table)}")


async def _make(writer: Any, part: Part, columns: dict[str, str]) -> None:
    definition = ", ".join(f"{name} {type_}" for name, type_ in columns.items())
    await writer.execute(f"drop table if exists {_table(part)}")
    await writer.execute(f"create unlogged table {_table(part)} ({definition})")


def _table(part: Part) -> str:
    return qualified(STAGING, staging_name(part))


@asynccontextmanager
async def _connected(pool: Pool) -> AsyncIterator[Any]:
    """A connection of its own for as long as the copy takes. Unavailable when the database does not answer."""
    settings = {**SESSION_SETTINGS, "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    try:
        connection = await connect(pool.dsn, server_settings=settings)
    except OSError as error:
        raise Unavailable(f"The database does not answer: {error}. Initial sync goes on when it does.") from error
    try:
        yield connection
    finally:
        await connection.close(timeout=5)
