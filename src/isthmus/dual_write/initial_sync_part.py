"""Parts of an initial sync and how far each is, kept where its records are written and in the same transactions."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

import msgspec

from isthmus.apps.principal import Half
from isthmus.store.connections import Connections
from isthmus.store.pool import fetch
from isthmus.store.transaction import Transaction

Step = Literal["begun", "staged", "loaded", "completing", "done"]
"""A part whose records are carried singly is done after `begun`. One whose records are `staged` is `loaded` once every
chunk has been written, and `completing` while the references of records that lacked some are set."""

_COLUMNS = """request, table_map, source, company, step, staging, next_bucket, last_id, total, done,
    inserted, updated, unchanged, skipped, waiting"""
_PLACE = "request = $1 and table_map = $2 and source = $3 and company = $4"
_BEGIN = """
insert into isthmus.initial_sync_part (request, table_map, source, company, total)
values ($1, $2, $3, $4, $5) on conflict do nothing
"""
_FIND = f"select {_COLUMNS} from isthmus.initial_sync_part where {_PLACE}"  # noqa: S608  (constants)
_OF_REQUEST = f"select {_COLUMNS} from isthmus.initial_sync_part where request = $1 order by began_at, table_map"  # noqa: S608
_ADVANCE = f"""
update isthmus.initial_sync_part set step = coalesce($5, step), next_bucket = coalesce($6, next_bucket),
    last_id = coalesce($7, last_id), done = done + $8, inserted = inserted + $9, updated = updated + $10,
    unchanged = unchanged + $11, skipped = skipped + $12, waiting = waiting + $13,
    ended_at = case when $5 = 'done' then clock_timestamp() else ended_at end
where {_PLACE}
"""  # noqa: S608  (constants)
_STAGED = f"""
update isthmus.initial_sync_part set step = $6, staging = $5, total = $7, next_bucket = 0, last_id = null, done = 0,
    inserted = 0, updated = 0, unchanged = $8, skipped = 0, waiting = 0
where {_PLACE}
"""  # noqa: S608  (constants)
_COMPLETE = f"""
update isthmus.initial_sync_part set step = 'completing', next_bucket = 0, waiting = 0 where {_PLACE}
"""  # noqa: S608  (constants)
_FORGET = """
delete from isthmus.initial_sync_part where request <> $1 and table_map = any($2::text[]) returning staging
"""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One leg of a table map (by its source), of one company ('' for tables without), in one request.

    `last_id` is the last record that was carried, `next_bucket` the first bucket of the records staged in the table
    `staging` that is not written yet. `done` counts records that were looked at, of `total`; `skipped` those of them
    that take no part; `waiting` were written without all of their references.
    """

    request: UUID
    table_map: str
    source: Half
    company: str
    step: Step = "begun"
    staging: str | None = None
    next_bucket: int = 0
    last_id: str | None = None
    total: int = 0
    done: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    waiting: int = 0

    @property
    def place(self) -> tuple[UUID, str, Half, str]:
        """What tells the part from all others."""
        return self.request, self.table_map, self.source, self.company

    async def begin(self, destination: Transaction) -> None:
        """Write the part down."""
        await destination.run(_BEGIN, *self.place, self.total)

    async def advance(
        self,
        destination: Transaction,
        *,
        step: Step | None = None,
        next_bucket: int | None = None,
        last_id: str | None = None,
        done: int = 0,
        inserted: int = 0,
        updated: int = 0,
        unchanged: int = 0,
        skipped: int = 0,
        waiting: int = 0,
    ) -> None:
        """Note how far it is now, and what has been counted since, in the transaction that got it there."""
        await destination.run(
            _ADVANCE, *self.place, step, next_bucket, last_id, done, inserted, updated, unchanged, skipped, waiting
        )

    async def stage(
        self, destination: Transaction, staging: str, total: int, *, step: Step = "staged", unchanged: int = 0
    ) -> None:
        """Begin it anew: its records, `total` of them, stand in a staging table; `unchanged` more need nothing."""
        await destination.run(_STAGED, *self.place, staging, step, total, unchanged)

    async def complete(self, destination: Transaction) -> None:
        """Go through the staged records once more, for the references that were left out."""
        await destination.run(_COMPLETE, *self.place)


async def find(pool: Connections, part: Part) -> Part | None:
    """The part as it was left, None when it has not begun."""
    rows = await fetch(pool, _FIND, *part.place)
    return _part_of(rows[0]) if rows else None


async def parts_of(pool: Connections, request: UUID) -> list[Part]:
    """The parts of a request that this half is the destination of, in the order they began."""
    return [_part_of(row) for row in await fetch(pool, _OF_REQUEST, request)]


async def forget_others(pool: Connections, request: UUID, table_maps: list[str]) -> list[str]:
    """Remove what earlier requests left of these table maps; the staging tables that nobody needs any more."""
    rows = await fetch(pool, _FORGET, request, table_maps)
    return [row["staging"] for row in rows if row["staging"]]


def _part_of(row: Any) -> Part:
    return Part(**dict(row))
