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
    """What happens to a value on its way: at most one of a value map, a constant and an expression.

    `value_map`: F&O value -> Dataverse value, both as text. `default`: used when the source has no value, and as a
    constant when the row has no source. `constant`: the value, on a row without source. `truncate`: text is cut to the
    length that its destination has room for. `to_dataverse` and `to_finops`: expressions over the fields or columns of
    the source record, for the direction they are named after (docs/reference/transforms.md).
    """

    value_map: dict[str, str] | None = None
    default: str | None = None
    constant: str | None = None
    truncate: bool = False
    to_dataverse: str | None = None
    to_finops: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether values cross as they are."""
        return self == _PLAIN

    @property
    def fixed(self) -> str | None:
        """The value of a row that has no source."""
        return self.constant if self.constant is not None else self.default


_PLAIN = Transform()


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
    `owning_team` is the id of the team that new rows of a global table belong to, "" for the default team. `file` is
    the definition file below the solutions folder, for messages.
    """

    name: str
    entity: str
    table: str
    integration_key: tuple[str, ...]
    rows: tuple[FieldMapping, ...]
    finops_filter: str = ""
    dataverse_filter: str = ""
    owning_team: str = ""
    version: str = "1.0.0.0"
    publisher: str = "Isthmus"
    examples: tuple[Example, ...] = ()
    solution: str = ""
    file: str = ""
