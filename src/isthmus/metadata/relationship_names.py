"""One-to-many relationships of lookup columns: their names and behaviour where a table file doesn't say.

Every lookup column has one relationship per target. Names follow Dataverse's own habits: the navigation property of a
lookup is the column's name, with the target behind it when there are several; the collection is named after both
tables and the column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from isthmus.metadata.relationship import Cascade, CascadeType, OneToMany
from isthmus.metadata.system_columns import SYSTEM_COLUMN_NAMES
from isthmus.metadata.table import Column, Table
from isthmus.metadata.types import ColumnType

_SYSTEM_COLLECTIONS = {
    "createdby": "lk_{table}_createdby",
    "modifiedby": "lk_{table}_modifiedby",
    "createdonbehalfby": "lk_{table}_createdonbehalfby",
    "modifiedonbehalfby": "lk_{table}_modifiedonbehalfby",
    "owninguser": "user_{table}",
    "owningteam": "team_{table}",
    "owningbusinessunit": "business_unit_{table}",
    "ownerid": "owner_{table}",
}


class Named(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a table file says of the relationship of one of its lookup columns to one target."""

    column: str
    target: str
    schema_name: str | None = None
    lookup: str | None = None
    collection: str | None = None
    cascade: Cascade | None = None


def relationships_of(table: Table, named: Iterable[Named] = ()) -> tuple[OneToMany, ...]:
    """The relationships of every (lookup column, target) of `table`, with what its file says of some of them."""
    said: Mapping[tuple[str, str], Named] = {(entry.column, entry.target): entry for entry in named}
    keyed = {column for key in table.keys for column in key.columns}
    found = []
    for column in table.columns:
        for target in column.targets if column.type.is_lookup else ():
            usual = _usual(table, column, target, keyed)
            entry = said.get((column.name, target))
            found.append(usual if entry is None else _as_named(usual, entry))
    return tuple(found)


def named_by(table: Table, relationships: Iterable[OneToMany]) -> tuple[Named, ...]:
    """What the file of `table` has to say so that `relationships_of` gives these relationships back."""
    usual = {(r.column, r.referenced): r for r in relationships_of(table)}
    named = []
    for relationship in relationships:
        other = usual[relationship.column, relationship.referenced]
        if relationship == other:
            continue
        collection = relationship.collection_navigation
        named.append(
            Named(
                column=relationship.column,
                target=relationship.referenced,
                schema_name=_unless(relationship.schema_name, collection),
                lookup=_unless(relationship.lookup_navigation, other.lookup_navigation),
                collection=_unless(collection, other.collection_navigation),
                cascade=None if relationship.cascade == other.cascade else relationship.cascade,
            )
        )
    return tuple(named)


def _unless(value: str, usual: str) -> str | None:
    return None if value == usual else value


def _as_named(usual: OneToMany, entry: Named) -> OneToMany:
    collection = entry.collection or usual.collection_navigation
    return OneToMany(
        schema_name=entry.schema_name or (entry.collection or usual.schema_name),
        referenced=usual.referenced,
        referencing=usual.referencing,
        column=usual.column,
        lookup_navigation=entry.lookup or usual.lookup_navigation,
        collection_navigation=collection,
        cascade=entry.cascade or usual.cascade,
    )


def _usual(table: Table, column: Column, target: str, keyed: set[str]) -> OneToMany:
    schema_name = collection = _collection(table, column, target)
    if column.type is ColumnType.OWNER and target != "systemuser":
        schema_name = f"{collection}_{target}"
    return OneToMany(
        schema_name=schema_name,
        referenced=target,
        referencing=table.logical_name,
        column=column.name,
        lookup_navigation=_lookup(table, column, target),
        collection_navigation=collection,
        cascade=Cascade(delete=_on_delete(column, target, keyed)),
    )


def _lookup(table: Table, column: Column, target: str) -> str:
    if not column.is_polymorphic:
        return column.name
    if column.type is ColumnType.OWNER:
        return "ownerid" if target == "systemuser" else f"ownerid_{target}"
    if table.is_activity and table.logical_name != "activitypointer":
        return f"{column.name}_{target}_{table.logical_name}"
    return f"{column.name}_{target}"


def _collection(table: Table, column: Column, target: str) -> str:
    pattern = _SYSTEM_COLLECTIONS.get(column.name)
    if pattern is not None:
        return pattern.format(table=table.logical_name)
    name = f"{target}_{table.logical_name}_{column.name.removeprefix('msdyn_')}"
    return f"msdyn_{name}" if column.name.startswith("msdyn_") else name


def _on_delete(column: Column, target: str, keyed: set[str]) -> CascadeType:
    """Rows that others are identified by stay while these exist; other lookups are emptied."""
    identifies = column.name in keyed or target == "cdm_company" or column.name in SYSTEM_COLUMN_NAMES
    return "Restrict" if identifies or column.required_level == "SystemRequired" else "RemoveLink"
