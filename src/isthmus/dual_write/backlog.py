"""The backlog of a half: the changes in its queue that catch-up has still to deliver, in the order they go.

A change that was delivered is deleted in the very commit that delivers it, so there is no position to keep and nothing
that commits late is passed over. A refused change stays where it is, and what depends on it behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import msgspec

from isthmus.apps.principal import DUAL_WRITE
from isthmus.dual_write.exchange import RowId
from isthmus.dual_write.leg import Projected
from isthmus.errors import IsthmusError
from isthmus.store.connections import Connections
from isthmus.store.pool import fetch
from isthmus.store.transaction import Transaction

SAVE_REACH = 10_000
"""Ids within which the changes of one save are looked for, so that they are delivered together."""

CATCHING_UP = "catch-up:"
"""How the correlation ids of catch-up's own saves begin."""

LOST = "conflict: the other half changed the same values of the record, and its values stand"
SUPERSEDED = "superseded: a later save on the other half set the same values of the record"

_NEXT = """
with first as (select * from isthmus.first_deliverable($1, $2)), last as (
    select max(q.id) as id from isthmus.queued_change q, (select min(id) as id, max(id) as last from first) f
    where q.table_map = any($1) and q.status = 'waiting' and q.id between f.id and f.last + $3
        and q.transaction_id in (select transaction_id from first)
), chosen as (
    select d.* from isthmus.deliverable_change d
    where d.table_map = any($1) and d.id between (select min(id) from first) and (select id from last)
)
select coalesce(json_agg(c order by c.id), '[]')::text from chosen c
"""
_ONE = """
with chosen as (
    select d.* from isthmus.deliverable_change d
    where d.id = (select id from isthmus.first_deliverable($1, 1))
)
select coalesce(json_agg(c), '[]')::text from chosen c
"""
_HOLD = """
with chosen as (
    select d.* from isthmus.deliverable_change d where d.id = any($1::bigint[]) order by d.id for update
)
select coalesce(json_agg(c order by c.id), '[]')::text from chosen c
"""
_OF_KEYS = """
with keys as (select * from unnest($1::text[], $2::text[]) k(table_map, key)), found as (
    select q.id from isthmus.queued_change q join keys k on q.table_map = k.table_map and q.record_key = k.key
    where q.status in ('waiting', 'failed')
    union
    select q.id from isthmus.queued_change q
    join keys k on q.table_map = k.table_map and q.renamed_from ->> 'key' = k.key
    where q.status in ('waiting', 'failed') and q.renamed_from is not null
), chosen as (
    select q.* from isthmus.queued_change q where q.id in (select id from found) order by q.id for update
)
select coalesce(json_agg(c order by c.id), '[]')::text from chosen c
"""
_OF_IDS = """
select coalesce(json_agg(q order by q.id), '[]')::text from isthmus.queued_change q
where q.table_map = $1 and q.record_id = any($2::text[]) and q.status in ('waiting', 'failed')
"""
_NAMING = """
select coalesce(json_agg(q order by q.id), '[]')::text from isthmus.queued_change q
where q.status in ('waiting', 'failed') and q.record ->> 'unkeyed' is not null
    and exists (select from json_each_text(q.record -> 'unkeyed') u where u.value = any($1::text[]))
"""
_REWRITE = """
update isthmus.queued_change q set record_key = r.record ->> 'key', record = r.record, renamed_from = r.renamed_from
from json_to_recordset($1::json) r(id bigint, record json, renamed_from json) where q.id = r.id
"""
_REMOVE = "delete from isthmus.queued_change where id = any($1::bigint[])"
_NARROW = "update isthmus.queued_change set new_values = $2 where id = $1"
_KEEP_LOST = """
insert into isthmus.queued_change
    (table_map, operation, record_id, record_key, company, record, renamed_from, new_values, principal, correlation_id,
    queued_at, status, dismissed_by, dismissed_reason, dismissed_at)
select table_map, operation, record_id, record_key, company, record, renamed_from, $2, principal, correlation_id,
    queued_at, 'dismissed', $3, $4, clock_timestamp()
from isthmus.queued_change where id = $1
"""
_FREE_DEPENDENTS = """
update isthmus.queued_change set status = 'waiting'
where status = 'failed' and code = 'lookup_not_found' and id > $1
"""
_FREE_REFERRING = """
update isthmus.queued_change set status = 'waiting'
where status = 'failed' and code = 'lookup_not_found' and table_map = any($1::text[])
"""
_FAIL = """
update isthmus.queued_change
set status = 'failed', attempts = attempts + 1, code = $2, message = $3, field = $4, tried_at = clock_timestamp()
where id = $1 and status = 'waiting'
"""
_DELIVERABLE = """
select table_map, count(*) as waiting from isthmus.deliverable_change
where table_map = any($1::text[]) group by table_map
"""
_RUNNING = """
select s.table_map from isthmus.table_map_state s where s.state = 'running' and exists (
    select from isthmus.deliverable_change d where d.table_map = s.table_map
)
"""


class Queued(msgspec.Struct, kw_only=True):
    """A change in the queue: the record as it was projected then. `new_values` None: all of them are new.

    `renamed_from` is the record before the change, when that changed its key.
    """

    id: int
    table_map: str
    operation: Literal["upsert", "delete"]
    record: Projected
    renamed_from: Projected | None = None
    new_values: list[str] | None = None
    correlation_id: str
    attempts: int = 0

    @property
    def is_void(self) -> bool:
        """Whether nothing of the change is left to deliver."""
        return self.new_values == []

    @property
    def keys(self) -> set[str]:
        """Keys that the record is known by: now, and before the change."""
        return {record.key for record in (self.record, self.renamed_from) if record is not None and record.key}

    @property
    def is_answer(self) -> bool:
        """Whether business logic made the change in answer to one that catch-up delivered."""
        return self.correlation_id.startswith(CATCHING_UP)

    @property
    def marks(self) -> set[tuple[str, str]]:
        """What tells that two changes are of one record: its id, its key, and the key it had before."""
        return {(self.table_map, f"id {self.record.id}"), *((self.table_map, f"key {key}") for key in self.keys)}


_ROWS = msgspec.json.Decoder(list[Queued])


async def next_changes(source: Transaction, table_maps: Sequence[str], limit: int) -> list[Queued]:
    """The oldest changes that wait for nothing: about `limit` of them, but never a part of one save.

    A limit of 0 asks for the first change alone.
    """
    if limit == 0:
        return _ROWS.decode(await source.value(_ONE, list(table_maps)))
    return _ROWS.decode(await source.value(_NEXT, list(table_maps), limit, SAVE_REACH))


async def hold(source: Transaction, changes: Iterable[Queued]) -> list[Queued]:
    """Lock changes, and see what has become of them: those that still wait for nothing, as they are now."""
    return _ROWS.decode(await source.value(_HOLD, [change.id for change in changes]))


async def changes_of(half: Transaction, keys: Collection[tuple[str, str]]) -> list[Queued]:
    """Changes of the records given as (table map, key) that are still in the half's queue, refused ones too; locked."""
    if not keys:
        return []
    table_maps, texts = zip(*sorted(keys), strict=True)
    return _ROWS.decode(await half.value(_OF_KEYS, list(table_maps), list(texts)))


async def changes_of_ids(half: Transaction, table_map: str, ids: Collection[RowId]) -> list[Queued]:
    """Changes of the records with these ids that are still in the half's queue, refused ones too."""
    return _ROWS.decode(await half.value(_OF_IDS, table_map, [str(id_) for id_ in ids])) if ids else []


async def changes_naming(half: Transaction, ids: Collection[RowId]) -> list[Queued]:
    """Changes in the half's queue of records that name rows with these ids, which had no key then."""
    return _ROWS.decode(await half.value(_NAMING, [str(id_) for id_ in ids])) if ids else []


async def rewrite(half: Transaction, changes: Iterable[Queued]) -> None:
    """Let the queue hold the records of changes as they are given here."""
    rows = [{"id": change.id, "record": change.record, "renamed_from": change.renamed_from} for change in changes]
    if rows:
        await half.run(_REWRITE, msgspec.json.encode(rows).decode())


async def remove(half: Transaction, ids: Iterable[int]) -> None:
    """Delete changes: they were delivered, or the other half's stand in their place."""
    await half.run(_REMOVE, list(ids))


async def narrow(half: Transaction, change: Queued) -> None:
    """Keep the change for the values it has left, if there are any."""
    if change.is_void:
        await remove(half, [change.id])
    else:
        await half.run(_NARROW, change.id, change.new_values)


async def keep_lost(half: Transaction, change: Queued, values: Collection[str], reason: str = LOST) -> None:
    """Keep values that the change gave up, listed as dismissed."""
    if values:
        await half.run(_KEEP_LOST, change.id, sorted(values), DUAL_WRITE.object_id, reason)


async def free_dependents(half: Transaction, change: Queued) -> None:
    """After a change that was refused before: those refused since because a row was missing are tried again."""
    await half.run(_FREE_DEPENDENTS, change.id)


async def free_referring(half: Transaction, table_maps: Collection[str]) -> None:
    """The table maps that these look rows up in have caught up: what was refused for a missing row is tried again."""
    await half.run(_FREE_REFERRING, list(table_maps))


async def free_referring_now(pool: Connections, table_maps: Collection[str]) -> None:
    """The same in a transaction of its own: the rows have come by an initial sync."""
    await fetch(pool, _FREE_REFERRING, list(table_maps))


async def fail(pool: Connections, change: Queued, error: IsthmusError) -> None:
    """Let the change stay, with the reason."""
    field = error.details.get("field") or error.details.get("column")
    await pool.execute(_FAIL, change.id, error.code, error.message, field)


async def deliverable(pool: Any, table_maps: Sequence[str]) -> dict[str, int]:
    """Number of changes per table map that wait for nothing; `pool` is a pool or a connection."""
    return {row["table_map"]: row["waiting"] for row in await pool.fetch(_DELIVERABLE, list(table_maps))}


async def running_with_deliverable(pool: Connections) -> set[str]:
    """Running table maps with changes in the queue of this half that wait for nothing."""
    return {row["table_map"] for row in await pool.fetch(_RUNNING)}


def waves(changes: Iterable[Queued]) -> list[list[Queued]]:
    """The changes in as few groups as possible, each with one change of a record at most, in their order."""
    groups: list[list[Queued]] = []
    last: dict[tuple[str, str], int] = {}
    for change in changes:
        number = max((last.get(mark, -1) for mark in change.marks), default=-1) + 1
        if number == len(groups):
            groups.append([])
        groups[number].append(change)
        last.update(dict.fromkeys(change.marks, number))
    return groups
