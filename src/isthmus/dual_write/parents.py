"""Rows that a record names and that have no key yet: F&O can't be told which they are before it has given them one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from isthmus.dual_write.delivery import Delivery, project
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.leg import Leg, Projected


async def parents_without_key(
    exchange: Exchange, leg: Leg, records: Sequence[Projected], apart_from: Collection[RowId] = ()
) -> list[tuple[Leg, list[RowId]]]:
    """Table maps that carry, both ways, rows which these records name by a key that they don't have; with those rows.

    Rows that don't pass their map's filter, or whose map is not running, get no key: they are no parents here. The save
    takes part in the maps that are returned.
    """
    named: dict[str, tuple[Leg, set[RowId]]] = {}
    for record in records:
        for name, parent in (record.unkeyed or {}).items():
            if record.passes and parent not in apart_from:
                for other in _legs_of(exchange, leg, name):
                    named.setdefault(other.name, (other, set()))[1].add(parent)
    found = []
    await exchange.enter(named)
    for other, ids in named.values():
        if exchange.states[other.name] == "not_running":
            continue
        parents = await project(exchange.side(leg.source), other, ids)
        waiting = [parent.id for parent in parents if parent.passes and parent.key is None]
        if waiting:
            found.append((other, waiting))
    return found


def note_unkeyed(exchange: Exchange, leg: Leg, records: Sequence[Projected]) -> None:
    """Remember what these records were sent without."""
    for record in records:
        if record.passes and record.unkeyed:
            exchange.unkeyed.setdefault((leg.name, leg.source), {})[record.id] = set(record.unkeyed)


async def complete_references(exchange: Exchange, delivery: Delivery) -> None:
    """Send what records were sent without and what is known by now: of those that name one another, or themselves."""
    for (name, source), unkeyed in exchange.unkeyed.items():
        leg = exchange.legs.by_map[name, source]
        if leg.destination != delivery.half:
            continue
        records = await project(exchange.side(source), leg, unkeyed)
        known = {record.id: unkeyed[record.id] - set(record.unkeyed or ()) for record in records}
        await delivery.send(leg, [record for record in records if known[record.id]], known)
        for id_, names in known.items():
            unkeyed[id_] -= names
            if not unkeyed[id_]:
                del unkeyed[id_]
    exchange.unkeyed = {leg: ids for leg, ids in exchange.unkeyed.items() if ids}


def _legs_of(exchange: Exchange, leg: Leg, name: str) -> list[Leg]:
    return [
        other
        for table, column in leg.parents.get(name, ())
        for other in exchange.legs.of_table(leg.source, table)
        if other.root == table and column in other.key_names and other.is_two_way
    ]
