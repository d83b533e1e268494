"""The queue of a half: changes of paused table maps, each as the record was when it was changed.

A row is written in the transaction of the change itself. The record stands in it as the leg projects it, so that one
that went from A by B to C is brought there by B too, also when it has been deleted since. Rows leave the queue in the
commit that applies them; what is refused stays, with the reason, until somebody retries or dismisses it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from isthmus.apps.context import Context
from isthmus.apps.principal import Half
from isthmus.dual_write.exchange import RowId
from isthmus.dual_write.leg import Leg, Projected
from isthmus.errors import NotFound
from isthmus.store.connections import Connections
from isthmus.store.pool import fetch
from isthmus.store.transaction import Transaction

Status = Literal["waiting", "failed", "dismissed"]

_COLUMNS = """id, table_map, operation, record_id, record_key, company, record::text, renamed_from::text, new_values,
    principal, correlation_id, queued_at, status, attempts, code, message, field, tried_at, dismissed_by,
    dismissed_reason, dismissed_at"""

_APPEND = """
insert into isthmus.queued_change
    (table_map, operation, record_id, record_key, company, record, renamed_from, new_values, principal, correlation_id)
select $2, 'upsert', p.record ->> 'id', p.record ->> 'key', p.record ->> 'company', p.record,
    case when t.renamed_from ->> 'key' is distinct from p.record ->> 'key' then t.renamed_from end,
    case when json_typeof(t.new_values) = 'array' then array(select json_array_elements_text(t.new_values)) end,
    $4, $5
from json_array_elements(({project})::json) p(record)
join rows from (json_to_recordset($3::json) as (id text, new_values json, renamed_from json))
    with ordinality t(id, new_values, renamed_from, place) on t.id = p.record ->> 'id'
where (p.record ->> 'passes')::boolean {condition}
order by t.place
returning record_id
"""
_BEHIND_OTHERS = """and exists (
    select from isthmus.queued_change q where q.table_map = $2 and q.status in ('waiting', 'failed')
    and (q.record_key = p.record ->> 'key' or (q.record_key is null and q.record_id = p.record ->> 'id'))
)"""
_APPEND_DELETED = """
insert into isthmus.queued_change
    (table_map, operation, record_id, record_key, company, record, principal, correlation_id)
select $1, 'delete', r.record ->> 'id', r.record ->> 'key', r.record ->> 'company', r.record, $3, $4
from json_array_elements($2::json) with ordinality r(record, place) order by r.place
"""
_OPEN_RECORDS = """
select r.id from json_to_recordset($2::json) r(id text, key text) where exists (
    select from isthmus.queued_change q where q.table_map = $1 and q.status in ('waiting', 'failed')
    and (q.record_key = r.key or (q.record_key is null and q.record_id = r.id))
)
"""
_LIST = f"""
select {_COLUMNS} from isthmus.queued_change
where table_map = $1 and status = any($2) and ($3::text is null or record_key = $3) and id > $4 order by id limit $5
"""  # noqa: S608  (constants)
_COUNT = """
select table_map, count(*) filter (where status = 'waiting') as waiting,
    count(*) filter (where status = 'failed') as failed
from isthmus.queued_change where status in ('waiting', 'failed') and ($1::text[] is null or table_map = any($1))
group by table_map
"""
_RETRY = """
update isthmus.queued_change set status = 'waiting'
where table_map = $1 and status = 'failed' and ($2::bigint[] is null or id = any($2))
"""
_DISMISS = """
update isthmus.queued_change
set status = 'dismissed', dismissed_by = $3, dismissed_reason = $4, dismissed_at = clock_timestamp()
where table_map = any($1) and status in ('waiting', 'failed') and ($2::bigint[] is null or id = any($2))
"""
_NEWLY_LONG = """
update isthmus.table_map_state s set queue_alarm_at = clock_timestamp()
where queue_alarm_at is null and exists (
    select from isthmus.queued_change q where q.table_map = s.table_map and q.status in ('waiting', 'failed')
    offset $1 limit 1
) returning table_map
"""
_SHORT_AGAIN = """
update isthmus.table_map_state s set queue_alarm_at = null
where queue_alarm_at is not null and not exists (
    select from isthmus.queued_change q where q.table_map = s.table_map and q.status in ('waiting', 'failed')
    offset $1 limit 1
)
"""


class QueuedChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change that waits, was refused, or was dismissed.

    `id` counts within its half. `record` is the record as the leg projected it; `renamed_from` the same before the
    change when that gave it another key. `new_values` are the destination values that are new, None for all of them.
    `code`, `message` and `field` are the reason of the last refusal.
    """

    half: Half
    id: int
    table_map: str
    operation: Literal["upsert", "delete"]
    record_id: str
    record_key: str | None
    company: str | None
    record: Projected
    renamed_from: Projected | None
    new_values: frozenset[str] | None
    principal: str
    correlation_id: str
    queued_at: datetime
    status: Status
    attempts: int
    code: str | None
    message: str | None
    field: str | None
    tried_at: datetime | None
    dismissed_by: str | None
    dismissed_reason: str | None
    dismissed_at: datetime | None


class QueueCount(msgspec.Struct, frozen=True):
    """Changes of a table map in the queue of one half."""

    waiting: int
    failed: int


_RECORD = msgspec.json.Decoder(Projected)


async def append(
    context: Context,
    leg: Leg,
    touched: Mapping[RowId, Collection[str] | None],
    renamed: Mapping[RowId, Projected],
    *,
    principal: str,
    only_behind_others: bool = False,
) -> set[str]:
    """Queue records of a leg on its source half as they stand now; the ids of those queued, as text.

    `touched` gives the destination values that are new, None for all; `renamed` records as they were before their key
    changed. Records that don't pass the map's filter take no part. `only_behind_others`: only records of which changes
    wait in this queue already.
    """
    condition = _BEHIND_OTHERS if only_behind_others else ""
    rows = [
        {"id": str(id_), "new_values": None if new is None else sorted(new), "renamed_from": renamed.get(id_)}
        for id_, new in touched.items()
    ]
    found = await context.transaction.rows(
        _APPEND.format(project=leg.project, condition=condition),
        list(touched),
        leg.name,
        msgspec.json.encode(rows).decode(),
        principal,
        context.correlation_id,
    )
    return {record["record_id"] for record in found}


async def append_deleted(context: Context, leg: Leg, records: Iterable[Projected], *, principal: str) -> None:
    """Queue the deletion of records of a leg, given as they were before."""
    encoded = msgspec.json.encode(list(records)).decode()
    await context.transaction.run(_APPEND_DELETED, leg.name, encoded, principal, context.correlation_id)


async def open_records(transaction: Transaction, table_map: str, records: Collection[Projected]) -> set[RowId]:
    """Ids of those records of which changes wait in the queue of this half, refused ones among them."""
    encoded = msgspec.json.encode([{"id": str(record.id), "key": record.key} for record in records]).decode()
    found = {row["id"] for row in await transaction.rows(_OPEN_RECORDS, table_map, encoded)}
    return {record.id for record in records if str(record.id) in found}


async def count_open(transaction: Transaction, table_maps: Collection[str]) -> dict[str, QueueCount]:
    """Changes that wait or were refused, by table map; maps without any are left out."""
    return _counts(await transaction.rows(_COUNT, list(table_maps)))


async def dismiss_all(transaction: Transaction, table_maps: Collection[str], *, by: str, reason: str) -> None:
    """Dismiss everything that waits or was refused. It stays listed as dismissed."""
    await transaction.run(_DISMISS, list(table_maps), None, by, reason)


class Queue:
    """The queues of both halves as people see them."""

    def __init__(self, pools: Mapping[Half, Connections]) -> None:
        self._pools = pools

    async def list(
        self,
        half: Half,
        table_map: str,
        *,
        statuses: Collection[Status] = ("waiting", "failed"),
        key: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[QueuedChange]:
        """Changes in the order they were made, beyond the id `after`; `key` is the canonical integration key."""
        found = await fetch(self._pools[half], _LIST, table_map, sorted(statuses), key, after, limit)
        return [_change_of(half, record) for record in found]

    async def counts(self, table_maps: Collection[str] | None = None) -> dict[Half, dict[str, QueueCount]]:
        """Changes that wait or were refused, by half and table map; maps without any are left out."""
        names = None if table_maps is None else sorted(table_maps)
        return {half: _counts(await fetch(pool, _COUNT, names)) for half, pool in self._pools.items()}

    async def newly_long(self, rows: int) -> Sequence[tuple[Half, str]]:
        """Table maps whose queue on a half has grown beyond this many changes: told once, by whichever process looks
        first, until the queue has fallen below half of that."""
        found: list[Any] = []
        for half, pool in self._pools.items():
            await fetch(pool, _SHORT_AGAIN, rows // 2)
            found += [(half, record["table_map"]) for record in await fetch(pool, _NEWLY_LONG, rows)]
        return found

    async def retry(self, half: Half, table_map: str, ids: Collection[int] | None = None) -> int:
        """Let refused changes wait for another attempt: these, or all; how many. NotFound, and nothing done, when one
        is not refused."""
        wanted = None if ids is None else sorted(set(ids))
        return await self._change(half, table_map, wanted, "refused", _RETRY, table_map, wanted)

    async def dismiss(self, half: Half, table_map: str, ids: Collection[int], *, by: str, reason: str) -> int:
        """Give up changes that wait or were refused; they stay listed, with who and why. NotFound, and nothing done,
        when one is gone."""
        wanted = sorted(set(ids))
        return await self._change(
            half, table_map, wanted, "waiting or refused", _DISMISS, [table_map], wanted, by, reason
        )

    async def _change(
        self, half: Half, table_map: str, ids: Sequence[int] | None, status: str, sql: str, *arguments: Any
    ) -> int:
        """Run a statement about these changes, or about all; how many it found."""
        async with self._pools[half].acquire() as connection, connection.transaction():
            count = int((await connection.execute(sql, *arguments)).rpartition(" ")[2])
            if ids is not None and count < len(ids):
                raise NotFound(
                    f"Of {len(ids)} changes of table map '{table_map}' on the {half} half {count} are {status}; the "
                    "others are not in its queue. List the queue again.",
                    code="queued_change_not_found",
                    table_map=table_map,
                )
        return count


def _counts(records: Iterable[Any]) -> dict[str, QueueCount]:
    return {record["table_map"]: QueueCount(record["waiting"], record["failed"]) for record in records}


def _change_of(half: Half, record: Any) -> QueuedChange:
    values = dict(record)
    values["record"] = _RECORD.decode(values["record"])
    renamed, new_values = values["renamed_from"], values["new_values"]
    values["renamed_from"] = None if renamed is None else _RECORD.decode(renamed)
    values["new_values"] = None if new_values is None else frozenset(new_values)
    return QueuedChange(half=half, **values)
