"""Rows created together: a row, the rows it points at, and the rows that point at it, in as few messages as there are
levels and tables."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.dataverse.webapi.payload import Payload
from isthmus.dataverse.webapi.row_keys import RowKey, key_of_address, require_ids
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.relationship import OneToMany
from isthmus.metadata.table import Table
from isthmus.metadata.types import ColumnType
from isthmus.query.model import Relations


async def insert(context: Context, relations: Relations, payloads: list[Payload], *, show: bool = False) -> list[Row]:
    """Create the rows of payloads of one table: first the rows they point at, then they, then those that point at them.

    Returns the rows in the order of the payloads, with their ids, and as they are shown if asked for.
    """
    catalog = context.app.catalog
    for relationship, pairs in _by_relationship(payloads, "parents").items():
        parents = await insert(context, relations, [parent for _, parent in pairs])
        for (payload, _), parent in zip(pairs, parents, strict=True):
            point_at(catalog, payload, relationship, parent.id)
    await resolve_references(context, relations, payloads)
    table = payloads[0].table
    rows = [Row(values=payload.values) for payload in payloads]
    await context.app.execute(
        context, Message(operation=Operation.CREATE, table=table.logical_name, rows=rows, show=show)
    )
    ids = {id(payload): row.id for payload, row in zip(payloads, rows, strict=True)}
    for relationship, groups in _by_relationship(payloads, "children").items():
        children = []
        for payload, group in groups:
            for child in group:
                point_at(catalog, child, relationship, ids[id(payload)])
                children.append(child)
        if children:
            await insert(context, relations, children)
    for relationship, groups in _by_relationship(payloads, "linked").items():
        for payload, addresses in groups:
            await link(context, relations, relationship, ids[id(payload)], addresses)
    return rows


async def resolve_references(context: Context, relations: Relations, payloads: list[Payload]) -> None:
    """Turn the addresses given for lookups into ids among the values."""
    catalog = context.app.catalog
    named: list[tuple[Payload, OneToMany, RowKey]] = []
    # Addresses last: a polymorphic lookup has one name per target, and null under one must not undo another.
    for payload in payloads:
        for relationship, address in payload.references:
            if address is None:
                point_at(catalog, payload, relationship, None)
            else:
                key = key_of_address(catalog, relations, address)
                named.append((payload, leading_to(catalog, relationship, key.table), key))
    ids = await require_ids([key for _, _, key in named], context.transaction.rows)
    for (payload, relationship, _), row_id in zip(named, ids, strict=True):
        point_at(catalog, payload, relationship, row_id)


def leading_to(catalog: Catalog, relationship: OneToMany, target: Table) -> OneToMany:
    """The relationship by which a lookup's navigation property takes a row of `target`; Rejected when it takes none.

    Users and teams alike are written as `ownerid`; other polymorphic lookups have one navigation property per target.
    """
    column = catalog.table(relationship.referencing).column[relationship.column]
    is_owner = column.type is ColumnType.OWNER
    lookups = catalog.lookups_of[relationship.referencing].values() if is_owner else (relationship,)
    for lookup in lookups:
        if (lookup.column, lookup.referenced) == (column.name, target.logical_name):
            return lookup
    tables = " or ".join(f"'{name}'" for name in (column.targets if is_owner else (relationship.referenced,)))
    raise Rejected(
        f"'{relationship.lookup_navigation}' points at rows of {tables}; the address given is that of a row of "
        f"'{target.logical_name}'.",
        code="lookup_target",
        table=relationship.referencing,
        column=column.name,
    )


async def link(
    context: Context, relations: Relations, relationship: OneToMany, target: Any, addresses: list[str]
) -> None:
    """Let existing rows point at `target` by the lookup of a relationship."""
    keys = []
    referencing = context.app.catalog.table(relationship.referencing)
    for address in addresses:
        key = key_of_address(context.app.catalog, relations, address)
        if key.table.logical_name != referencing.logical_name:
            raise Rejected(
                f"'{relationship.collection_navigation}' holds rows of '{referencing.logical_name}'; {address[:200]} "
                f"is a row of '{key.table.logical_name}'.",
                code="lookup_target",
                table=referencing.logical_name,
                column=relationship.column,
            )
        keys.append(key)
    ids = await require_ids(keys, context.transaction.rows)
    rows = [Row(id=row_id, values=lookup_values(referencing, relationship, target)) for row_id in ids]
    await context.app.execute(context, Message(operation=Operation.UPDATE, table=referencing.logical_name, rows=rows))


def point_at(catalog: Catalog, payload: Payload, relationship: OneToMany, target: UUID | int | None) -> None:
    """Set the lookup of a relationship among a payload's values."""
    payload.values.update(lookup_values(catalog.table(relationship.referencing), relationship, target))


def lookup_values(table: Table, relationship: OneToMany, target: UUID | int | None) -> dict[str, Any]:
    """The physical columns of a lookup, for a row it points at."""
    column = table.column[relationship.column]
    values: dict[str, Any] = {column.name: target}
    if column.is_polymorphic:
        values[column.type_column] = None if target is None else relationship.referenced
    return values


def _by_relationship(payloads: list[Payload], kind: str) -> dict[OneToMany, list[tuple[Payload, Any]]]:
    found: dict[OneToMany, list[tuple[Payload, Any]]] = {}
    for payload in payloads:
        for relationship, related in getattr(payload, kind):
            found.setdefault(relationship, []).append((payload, related))
    return found
