"""Keys that the partner gives: a record that waited in the queue without one gets it in the save that delivers it.

An account without a number, made while its table map was paused, becomes a customer whose number comes from a number
sequence. What waits behind that creation - later changes of the account, records that name it - was queued without the
number and would not find its customer again; so the key comes home to the record and to everything that waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from isthmus.apps.port import App
from isthmus.dataverse.schema import sql_name
from isthmus.dual_write.backlog import Queued
from isthmus.dual_write.delivery import Delivery, project
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.leg import Leg, Projected
from isthmus.dual_write.leg_sql import key_rows
from isthmus.dual_write.leg_to_finops import rows_to_finops
from isthmus.query.quoting import quote_identifier

_COMPLETE = """
with given as (
    select * from json_to_recordset($1::json) g(table_map text, record_id text, key text, "values" jsonb)
), completed as (
    select q.id, coalesce(q.record_key, g.key) as key, g.key as first_key, (
        select coalesce(jsonb_object_agg(v.key,
            case when v.value in ('null', '""') then coalesce(g.values -> v.key, v.value) else v.value end), '{}')
        from jsonb_each(q.record::jsonb -> 'values') v
    ) as "values", q.record::jsonb || jsonb_build_object('key', g.key, 'values',
        (q.record::jsonb -> 'values') || g.values) as before,
    row_number() over (partition by q.table_map, q.record_id, q.record_key is null order by q.id) as place
    from isthmus.queued_change q join given g on q.table_map = g.table_map and q.record_id = g.record_id
    where q.status in ('waiting', 'failed')
)
update isthmus.queued_change q set
    record_key = c.key,
    record = (q.record::jsonb || jsonb_build_object('key', c.key, 'values', c.values))::json,
    renamed_from = case when q.renamed_from is null and q.record_key <> c.first_key and c.place = 1
        then c.before::json else q.renamed_from end
from completed c where q.id = c.id
returning q.id, q.record::text as record, q.renamed_from::text as renamed_from
"""
_FIRST_KEYED = """
select distinct on (q.record_id) q.record::text as record from isthmus.queued_change q
where q.table_map = $1 and q.record_id = any($2::text[]) and q.record_key is not null
    and q.status in ('waiting', 'failed')
order by q.record_id, q.id
"""
_WAITING = "select distinct table_map from isthmus.queued_change where status in ('waiting', 'failed')"

_RECORD = msgspec.json.Decoder(Projected)


async def take_own(exchange: Exchange, leg: Leg, changes: Sequence[Queued]) -> None:
    """Somebody gave a record its key after it was queued without one: it is made with that key at once.

    `changes` are those that this save delivers.
    """
    without_key = [change.record.id for change in changes if change.table_map == leg.name and change.record.key is None]
    back = exchange.legs.by_map.get((leg.name, leg.destination))
    if not without_key or back is None:
        return
    transaction = exchange.side(leg.source).transaction
    rows = await transaction.rows(_FIRST_KEYED, leg.name, [str(id_) for id_ in without_key])
    records = [_RECORD.decode(row["record"]) for row in rows]
    names = [here for here, _ in _key_values(exchange, leg, back)]
    completions = [
        _Completion(leg.name, record.id, record.key, {name: record.values.get(name) for name in names})
        for record in records
    ]
    await _complete(exchange, leg, completions, changes)


async def bring_home(
    exchange: Exchange, source_app: App, leg: Leg, delivered: Iterable[Queued], changes: Sequence[Queued]
) -> None:
    """Give the keys that the partner gave to `delivered` to the records themselves and to what waits in the queue.

    `changes` are those that this save delivers. The caller has locked the records. Nothing to do for a map that goes
    one way: its source never learns of the key.
    """
    back = exchange.legs.by_map.get((leg.name, leg.destination))
    without_key = [change.record.id for change in delivered if change.record.key is None]
    partners = {partner: id_ for id_ in without_key if (partner := exchange.paired(leg, id_)) is not None}
    if back is None or not partners:
        return
    projected = await project(exchange.side(leg.destination), back, list(partners))
    given = {partners[record.id]: record for record in projected if record.key is not None}
    await _write(exchange, source_app, leg, back, given)
    completions = _of_records(exchange, leg, back, given)
    completions += await _of_referring(exchange, leg, completions)
    await _complete(exchange, leg, completions, changes)


class _Completion(msgspec.Struct):
    """Values for what waits of a record, where it has none; `key` None for a record that only names another."""

    table_map: str
    record_id: RowId
    key: str | None
    values: dict[str, Any]


async def _write(exchange: Exchange, source_app: App, leg: Leg, back: Leg, given: Mapping[RowId, Projected]) -> None:
    """The records themselves, unless they are gone, or somebody has given them a key since."""
    rows = await exchange.side(leg.source).transaction.rows(leg.keys_of_ids, list(given))
    records = [given[row["id"]] for row in rows if row["key"] is None]
    names = [name for _, name in _key_values(exchange, leg, back)]
    home = Delivery(exchange, source_app)
    await home.send(back, records, {record.id: names for record in records})


def _key_values(exchange: Exchange, leg: Leg, back: Leg) -> list[tuple[str, str]]:
    """Values that the key is made of, apart from the company: what each is called by the leg and by the leg back."""
    found = []
    for path, row in key_rows(leg.table_map, exchange.legs.catalog):
        if row is not None and row.finops and not path.is_lookup:
            field, column = row.finops.lower(), path.text.lower()
            found.append((field, column) if leg.destination == "finops" else (column, field))
    return found


def _of_records(exchange: Exchange, leg: Leg, back: Leg, given: Mapping[RowId, Projected]) -> list[_Completion]:
    names = _key_values(exchange, leg, back)
    return [
        _Completion(leg.name, id_, record.key, {here: record.values.get(there) for here, there in names})
        for id_, record in given.items()
    ]


async def _of_referring(exchange: Exchange, leg: Leg, named: Sequence[_Completion]) -> list[_Completion]:
    """Records of which changes wait and which name one of these: their lookups now lead to a key."""
    if leg.source != "dataverse" or not named:
        return []
    catalog, transaction = exchange.legs.catalog, exchange.side("dataverse").transaction
    waiting = {row["table_map"] for row in await transaction.rows(_WAITING)}
    fields = {path.leaf.name: (row.finops or "").lower() for path, row in key_rows(leg.table_map, catalog) if row}
    by_id = {completion.record_id: completion for completion in named}
    found = []
    for other in exchange.legs.all["dataverse"]:
        if other.name not in waiting:
            continue
        table = catalog.table(other.root)
        for row, path in rows_to_finops(other.table_map, table, catalog):
            leads_there = path is not None and [hop.logical_name for _, hop in path.hops] == [leg.root]
            if path is None or not leads_there or path.leaf.name not in fields:
                continue
            sql = _naming(sql_name(table), table.primary_id, path.head.name)
            for record in await transaction.rows(sql, list(by_id)):
                value = by_id[record["named"]].values.get(fields[path.leaf.name])
                found.append(_Completion(other.name, record["id"], None, {(row.finops or "").lower(): value}))
    return found


def _naming(table: str, primary_id: str, lookup: str) -> str:
    """The statement that finds rows by what their lookup leads to."""
    id_, column = quote_identifier(primary_id), quote_identifier(lookup)
    return f"select {id_} as id, {column} as named from {table} where {column} = any($1::uuid[])"  # noqa: S608


async def _complete(
    exchange: Exchange, leg: Leg, completions: Sequence[_Completion], changes: Sequence[Queued]
) -> None:
    merged: dict[tuple[str, RowId], _Completion] = {}
    for completion in completions:
        known = merged.setdefault((completion.table_map, completion.record_id), completion)
        known.values |= completion.values
        known.key = known.key or completion.key
    if not merged:
        return
    encoded = msgspec.json.encode(list(merged.values())).decode()
    rows = await exchange.side(leg.source).transaction.rows(_COMPLETE, encoded)
    by_id = {row["id"]: row for row in rows}
    for change in changes:
        row = by_id.get(change.id)
        if row is not None:
            change.record = _RECORD.decode(row["record"])
            change.renamed_from = None if row["renamed_from"] is None else _RECORD.decode(row["renamed_from"])
