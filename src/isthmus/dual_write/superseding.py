"""Superseding: a save that live sync carries is newer than what still waits, on the other half, of the same records.

That is narrowed in the save itself, so that whatever is delivered later overwrites nothing newer. What it loses stays
listed as dismissed. With the answer of business logic to a change that catch-up delivers it is the other way round:
what still waits there was changed since.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from isthmus.dual_write import backlog
from isthmus.dual_write.conflicts import Side, columns_of
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.leg import Leg, Projected


async def supersede(
    exchange: Exchange, leg: Leg, records: Sequence[Projected], touched: Mapping[RowId, Collection[str] | None] | None
) -> None:
    """Take out of the queue at the leg's destination what these records bring anew; `touched` None: they are deleted.

    The caller holds the records' locks.
    """
    back = exchange.legs.by_map.get((leg.name, leg.destination))
    by_key = {record.key: record for record in records if record.key is not None}
    if back is None or not by_key or (leg.destination, leg.name) not in exchange.queued:
        return
    half = exchange.side(leg.destination).transaction
    for change in await backlog.changes_of(half, {(leg.name, key) for key in by_key}):
        side = Side(back, change)
        lost: set[str] = set()
        for key in change.keys & by_key.keys():
            is_delete = touched is None or change.operation == "delete"
            lost |= side.give_up(None if is_delete else _columns(leg, by_key[key], touched or {}))
        if side.is_narrowed:
            await backlog.keep_lost(half, change, lost, backlog.SUPERSEDED)
            await backlog.narrow(half, change)
            exchange.superseded = True


async def give_way(
    exchange: Exchange, leg: Leg, records: Sequence[Projected], touched: Mapping[RowId, Collection[str] | None]
) -> dict[RowId, Collection[str] | None]:
    """What is left of an answer to a delivered change, by record: not what is changed by what waits at its destination.

    A record that is deleted there is left out.
    """
    left = dict(touched)
    back = exchange.legs.by_map.get((leg.name, leg.destination))
    by_key = {record.key: record for record in records if record.key is not None}
    if back is None or not by_key:
        return left
    half = exchange.side(leg.destination).transaction
    for change in await backlog.changes_of(half, {(leg.name, key) for key in by_key}):
        for key in change.keys & by_key.keys():
            record = by_key[key]
            if change.operation == "delete":
                left.pop(record.id, None)
            elif record.id in left:
                columns, new = Side(back, change).columns, left[record.id]
                names = record.values if new is None else new
                left[record.id] = {name for name in names if columns_of(leg, name).isdisjoint(columns)}
    return left


def _columns(leg: Leg, record: Projected, touched: Mapping[RowId, Collection[str] | None]) -> set[str]:
    """Dataverse columns that the record brings."""
    new = touched[record.id]
    return {column for name in (record.values if new is None else new) for column in columns_of(leg, name)}
