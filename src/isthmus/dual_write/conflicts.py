"""Conflicts: records that were changed on both halves while their changes waited in a queue.

What two changes set of one record is compared by Dataverse columns, which both legs name. Where both set a column the
master's value stands, everything else still crosses. The loser gives its value up before either change is delivered, so
both halves end with the same values whatever is delivered first. A delete concerns the whole record.

Business logic that answers a delivered change is no conflict: what people changed since is newer than the answer.
"""

from __future__ import annotations

from typing import Any

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.backlog import Queued
from isthmus.dual_write.leg import Leg


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """One record with two changes that set the same Dataverse `columns`; none when one of them deleted it.

    `finops` and `dataverse` are the record as each half's change shows it, in the terms of the other half.
    """

    table_map: str
    key: str | None
    company: str | None
    columns: tuple[str, ...]
    winner: Half
    finops: dict[str, Any]
    dataverse: dict[str, Any]


class Side(msgspec.Struct):
    """A change and the leg that it takes. `lost` are the values it gave up in conflicts."""

    leg: Leg
    change: Queued
    lost: set[str] = set()
    is_narrowed: bool = False

    @property
    def names(self) -> list[str]:
        """Destination values that the change sets."""
        return self.change.new_values if self.change.new_values is not None else list(self.change.record.values)

    @property
    def columns(self) -> set[str]:
        """The same, as Dataverse columns."""
        return {column for name in self.names for column in columns_of(self.leg, name)}

    def give_up(self, columns: set[str] | None) -> set[str]:
        """Take these columns out of the change, all of it for None; the values that went."""
        names = self.names
        kept = [] if columns is None else [name for name in names if columns_of(self.leg, name).isdisjoint(columns)]
        self.change.new_values = kept
        self.is_narrowed = self.is_narrowed or columns is None or len(kept) < len(names)
        return set(names) - set(kept)


def columns_of(leg: Leg, name: str) -> set[str]:
    """The Dataverse columns that a value of a leg comes from or goes to."""
    if leg.destination == "dataverse":
        return {leg.paths[name].head.name}
    rows = leg.table_map.rows
    return {
        row.dataverse.partition(".")[0].lower() for row in rows if row.dataverse and (row.finops or "").lower() == name
    }


def settle(one: Side, other: Side, master: Half) -> Conflict | None:
    """Let one of two changes of a record, made on opposite halves, give up what both set.

    None when they have nothing in common, or only what an answer of business logic sets: the answer gives way.
    """
    if one.change.is_void or other.change.is_void:
        return None
    common = None if "delete" in (one.change.operation, other.change.operation) else one.columns & other.columns
    if common is not None and not common:
        return None
    if one.change.is_answer != other.change.is_answer:
        (one if one.change.is_answer else other).give_up(common)
        return None
    winner, loser = (one, other) if one.leg.source == master else (other, one)
    images = {side.leg.source: dict(side.change.record.values) for side in (one, other)}
    loser.lost = loser.lost | loser.give_up(common)
    record = winner.change.record
    return Conflict(
        table_map=winner.leg.name,
        key=record.key,
        company=record.company,
        columns=tuple(sorted(common or ())),
        winner=master,
        finops=images["finops"],
        dataverse=images["dataverse"],
    )
