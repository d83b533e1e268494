"""Table maps: which fields of an F&O entity correspond to which columns of a Dataverse table, and how."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec


class SyncDirection(IntEnum):
    """Direction of one field mapping, with the numbers of the management API."""

    FINOPS_TO_DATAVERSE = 1
    DATAVERSE_TO_FINOPS = 2
    BOTH = 3


ARROWS: dict[str, SyncDirection] = {
    "=": SyncDirection.BOTH,
    "><": SyncDirection.BOTH,
    ">": SyncDirection.FINOPS_TO_DATAVERSE,
    ">>": SyncDirection.FINOPS_TO_DATAVERSE,
    "<": SyncDirection.DATAVERSE_TO_FINOPS,
    "<<": SyncDirection.DATAVERSE_TO_FINOPS,
}
"""Arrows as the mapping form shows them, F&O on the left; the doubled ones carry a transform."""


class Transform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to a value on its way: at most one of a value map and a default.

    `value_map`: F&O value -> Dataverse value, both as text. `default`: used when the source has no value, and as a
    constant when the row has no source.
    """

    value_map: dict[str, str] | None = None
    default: str | None = None


class FieldMapping(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a table map. `dataverse` may be a path of lookups, as in `msdyn_customergroupid.msdyn_groupid`.

    `row` is the row's number in its file, counted from 1, for messages.
    """

    finops: str | None
    arrow: str
    dataverse: str | None
    transform: Transform = Transform()
    row: int = 0

    @property
    def direction(self) -> SyncDirection:
        return ARROWS[self.arrow]

    @property
    def to_dataverse(self) -> bool:
        return bool(self.direction & SyncDirection.FINOPS_TO_DATAVERSE)

    @property
    def to_finops(self) -> bool:
        return bool(self.direction & SyncDirection.DATAVERSE_TO_FINOPS)


class Example(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record of one half and the counterpart expected on the other: documentation and test of the map."""

    finops: dict[str, Any] | None = None
    dataverse: dict[str, Any] | None = None
    to: str = "dataverse"


class TableMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a table map.

    `name` is `<entity set> - <entity label>`; `integration_key` lists columns or lookup paths of the Dataverse table
    that identify a record on both halves; filters decide which records take part, in the notation of their half.
    `file` is the definition file below the solutions folder, for messages.
    """

    name: str
    entity: str
    table: str
    integration_key: tuple[str, ...]
    rows: tuple[FieldMapping, ...]
    finops_filter: str = ""
    dataverse_filter: str = ""
    version: str = "1.0.0.0"
    publisher: str = "Isthmus"
    examples: tuple[Example, ...] = ()
    solution: str = ""
    file: str = ""
