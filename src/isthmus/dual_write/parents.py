"""Rows that a record names and that have no key yet: F&O can't be told which they are before it has given them one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from isthmus.dual_write.delivery import project
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


def _legs_of(exchange: Exchange, leg: Leg, name: str) -> list[Leg]:
    return [
        other
        for table, column in leg.parents.get(name, ())
        for other in exchange.legs.of_table(leg.source, table)
        if other.root == table and column in other.key_names and other.is_two_way
    ]
