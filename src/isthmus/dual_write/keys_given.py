"""Keys that the partner gives: a record that waited in the queue without one gets it in the save that delivers it.

An account without a number, made while its table map was paused, becomes a customer whose number comes from a number
sequence. What waits behind that creation - later changes of the account, records that name it - was queued without the
number and would not find its customer again; so the key comes home to the record and to everything that waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from isthmus.apps.port import App
from isthmus.dual_write import backlog
from isthmus.dual_write.backlog import Queued
from isthmus.dual_write.delivery import Delivery, project
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.leg import Leg, Projected
from isthmus.dual_write.leg_sql import key_rows


async def take_own(exchange: Exchange, leg: Leg, changes: Sequence[Queued]) -> None:
    """Somebody gave a record its key after it was queued without one: it is made with that key at once.

    `changes` are those that this save delivers.
    """
    without_key = [change.record.id for change in changes if change.table_map == leg.name and change.record.key is None]
    if not without_key or (leg.name, leg.destination) not in exchange.legs.by_map:
        return
    transaction = exchange.side(leg.source).transaction
    waiting = _same(changes, await backlog.changes_of_ids(transaction, leg.name, without_key))
    keyed: dict[RowId, Projected] = {}
    for change in waiting:
        if change.record.key is not None:
            keyed.setdefault(change.record.id, change.record)
    given = [change for change in waiting if change.record.key is None and change.record.id in keyed]
    names = [here for here, _ in _key_values(exchange, leg)]
    for change in given:
        _fill_key(change.record, keyed[change.record.id], {n: keyed[change.record.id].values.get(n) for n in names})
    await backlog.rewrite(transaction, given)


async def bring_home(
    exchange: Exchange, source_app: App, leg: Leg, delivered: Iterable[Queued], changes: Sequence[Queued]
) -> dict[int, set[str]]:
    """Give the keys that the partner gave to `delivered` to the records themselves and to what waits in the queue.

    `changes` are those that this save delivers; the answer names, by the number of a change, values of it that are
    known only now. The caller has locked the records. Nothing to do for a map that goes one way: its source never
    learns of the key.
    """
    back = exchange.legs.by_map.get((leg.name, leg.destination))
    without_key = [change.record.id for change in delivered if change.record.key is None]
    partners = {partner: id_ for id_ in without_key if (partner := exchange.paired(leg, id_)) is not None}
    if back is None or not partners:
        return {}
    projected = await project(exchange.side(leg.destination), back, list(partners))
    given = {partners[record.id]: record for record in projected if record.key is not None}
    await _write(exchange, source_app, leg, back, given)
    transaction = exchange.side(leg.source).transaction
    waiting = _same(changes, await backlog.changes_of_ids(transaction, leg.name, list(given)))
    _fill_records(exchange, leg, waiting, given)
    naming = _same(changes, await backlog.changes_naming(transaction, list(given)))
    filled = _fill_references(exchange, leg, naming, given)
    await backlog.rewrite(transaction, {change.id: change for change in (*waiting, *naming)}.values())
    return filled


async def _write(exchange: Exchange, source_app: App, leg: Leg, back: Leg, given: Mapping[RowId, Projected]) -> None:
    """The records themselves, unless they are gone, or somebody has given them a key since."""
    rows = await exchange.side(leg.source).transaction.rows(leg.keys_of_ids, list(given))
    records = [given[row["id"]] for row in rows if row["key"] is None]
    names = [there for _, there in _key_values(exchange, leg)]
    await Delivery(exchange, source_app).send(back, records, {record.id: names for record in records})


def _key_values(exchange: Exchange, leg: Leg) -> list[tuple[str, str]]:
    """Values that the key is made of, apart from the company: what each is called by the leg and by the leg back."""
    found = []
    for path, row in key_rows(leg.table_map, exchange.legs.catalog):
        if row is not None and row.finops and not path.is_lookup:
            field, column = row.finops.lower(), path.text.lower()
            found.append((field, column) if leg.destination == "finops" else (column, field))
    return found


def _same(changes: Iterable[Queued], read: Sequence[Queued]) -> list[Queued]:
    """Changes as they were read, but those that this save delivers as it knows them."""
    known = {change.id: change for change in changes}
    return [known.get(change.id, change) for change in read]


def _fill_key(record: Projected, named: Projected, values: Mapping[str, object]) -> None:
    record.key = named.key
    record.values |= values


def _fill_records(exchange: Exchange, leg: Leg, waiting: Sequence[Queued], given: Mapping[RowId, Projected]) -> None:
    """What waits of the records has their key now; what gave them another one changes it from this one."""
    names, renamed = _key_values(exchange, leg), set()
    for change in waiting:
        key = given[change.record.id]
        values = {here: key.values.get(there) for here, there in names}
        if change.record.key is None:
            _fill_key(change.record, key, values)
        elif change.record.key != key.key and change.record.id not in renamed:
            renamed.add(change.record.id)
            if change.renamed_from is None:
                record = change.record
                change.renamed_from = Projected(
                    id=record.id,
                    company=record.company,
                    passes=record.passes,
                    key=key.key,
                    faults=[],
                    values={**record.values, **values},
                )


def _fill_references(
    exchange: Exchange, leg: Leg, naming: Sequence[Queued], given: Mapping[RowId, Projected]
) -> dict[int, set[str]]:
    """What waits of records that name these has the value that their lookup leads to now."""
    filled: dict[int, set[str]] = {}
    columns = {there for _, there in _key_values(exchange, leg)}
    for change in naming:
        other = exchange.legs.by_map[change.table_map, leg.source]
        unkeyed = change.record.unkeyed or {}
        for name, parent in list(unkeyed.items()):
            column = next((column for table, column in other.parents.get(name, ()) if table == leg.root), None)
            if parent in given and column in columns:
                change.record.values[name] = given[parent].values.get(column)
                del unkeyed[name]
                filled.setdefault(change.id, set()).add(name)
        change.record.unkeyed = unkeyed or None
    return filled
