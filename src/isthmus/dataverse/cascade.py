"""What happens to the rows that point at a row when that row is deleted or gets another owner.

Behaviours are Dataverse's: Cascade, RemoveLink and Restrict on delete; Cascade, Active and UserOwned on assign. What is
done to the other rows is a message of its own through the same pipeline, one per table, however many rows there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from isthmus.apps.change import Change, Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.dataverse.schema import sql_name
from isthmus.errors import Conflict
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.relationship import OneToMany
from isthmus.metadata.table import Table
from isthmus.query.quoting import quote_identifier

if TYPE_CHECKING:
    from isthmus.dataverse.app import DataverseApp


async def cascade_delete(app: DataverseApp, context: Context, table: Table, ids: list[Any]) -> None:
    """Delete or unlink the rows that point at `ids`; Conflict (`delete_restricted`) names those that forbid it."""
    going: set[UUID] = context.shared.setdefault(_Going, _Going())
    going.update(ids)
    found = await _pointing(app, context, table, _relationships(app.catalog, table), ids)
    pointing = []
    for relationship, children in found:
        await _let_go(app, context, relationship, [row_id for row_id in children if row_id in going], ids)
        pointing.append((relationship, [row_id for row_id in children if row_id not in going]))
    for relationship, children in pointing:
        if relationship.cascade.delete == "Restrict" and children:
            raise Conflict(
                f"The {table.logical_name} can't be deleted because it is associated with another object: "
                f"{len(children)} rows of table '{relationship.referencing}' point at it by column "
                f"'{relationship.column}' (relationship {relationship.schema_name}). Delete or change them first.",
                code="delete_restricted",
                table=table.logical_name,
                relationship=relationship.schema_name,
            )
    for wanted, operation in ((True, Operation.DELETE), (False, Operation.UPDATE)):
        for relationship, children in pointing:
            if (relationship.cascade.delete == "Cascade") is wanted:
                left = [row_id for row_id in children if row_id not in going]
                unlinked = {} if wanted else dict.fromkeys([relationship.column])
                await _send(app, context, operation, relationship.referencing, left, unlinked)
    going.difference_update(ids)


async def _let_go(
    app: DataverseApp, context: Context, relationship: OneToMany, children: list[UUID], ids: list[Any]
) -> None:
    """Clear the lookups of rows that are about to be deleted themselves, so that foreign keys let `ids` go first."""
    referencing = app.catalog.table(relationship.referencing)
    column = referencing.column[relationship.column]
    if column.is_polymorphic or set(children) <= set(ids):
        return
    key, lookup = quote_identifier(referencing.primary_id), quote_identifier(column.name)
    sql = f"update {sql_name(referencing)} set {lookup} = null where {key} = any($1::uuid[])"  # noqa: S608
    await context.transaction.run(sql, children)


async def cascade_assign(app: DataverseApp, context: Context, table: Table, changes: list[Change]) -> None:
    """Give the rows under an assigned row the same owner, where their relationship says so."""
    assigned = [change for change in changes if "ownerid" in change.columns]
    if not assigned:
        return
    relationships = [r for r in _relationships(app.catalog, table) if r.cascade.assign in _ASSIGNING]
    for change in assigned:
        assert change.before is not None and change.after is not None
        owner = {"ownerid": change.after["ownerid"]}
        for relationship, found in await _pointing(app, context, table, relationships, [change.id]):
            referencing = app.catalog.table(relationship.referencing)
            conditions = []
            if relationship.cascade.assign == "UserOwned":
                conditions.append(("ownerid", change.before["ownerid"]))
            if relationship.cascade.assign == "Active" and "statecode" in referencing.column:
                conditions.append(("statecode", 0))
            children = await _restricted(context, referencing, found, conditions)
            await _send(app, context, Operation.UPDATE, relationship.referencing, children, owner)


class _Going(set[UUID]):
    """Rows that a delete of this transaction is about to remove; they point at each other in circles."""


_ASSIGNING = ("Cascade", "Active", "UserOwned")


def _relationships(catalog: Catalog, table: Table) -> list[OneToMany]:
    return list(catalog.collections_of.get(table.logical_name, {}).values())


async def _pointing(
    app: DataverseApp, context: Context, table: Table, relationships: list[OneToMany], ids: list[Any]
) -> list[tuple[OneToMany, list[UUID]]]:
    """The relationships by which rows point at `ids`, with the ids of those rows; one statement for all of them."""
    if not relationships:
        return []
    branches = []
    for number, relationship in enumerate(relationships):
        referencing = app.catalog.table(relationship.referencing)
        column = referencing.column[relationship.column]
        key = quote_identifier(referencing.primary_id)
        condition = f"{quote_identifier(column.name)} = any($1::uuid[])"
        if column.is_polymorphic:
            condition += f" and {quote_identifier(column.type_column)} = $2"
        branches.append(f"select {number} as number, {key} as id from {sql_name(referencing)} where {condition}")  # noqa: S608
    # The second parameter is named in the text even when no lookup is polymorphic, so that it always has a type.
    sql = " union all ".join([*branches, "select -1, null::uuid where $2::text is null"])
    found: dict[int, list[UUID]] = {}
    for record in await context.transaction.rows(sql, ids, table.logical_name):
        found.setdefault(record["number"], []).append(record["id"])
    return [(relationships[number], sorted(children)) for number, children in sorted(found.items())]


async def _restricted(context: Context, table: Table, ids: list[UUID], conditions: list[tuple[str, Any]]) -> list[UUID]:
    key = quote_identifier(table.primary_id)
    clauses = "".join(
        f" and {quote_identifier(name)} = ${number}" for number, (name, _) in enumerate(conditions, start=2)
    )
    values = [value for _, value in conditions]
    sql = f"select {key} from {sql_name(table)} where {key} = any($1::uuid[]){clauses} order by {key}"  # noqa: S608
    return [record[0] for record in await context.transaction.rows(sql, ids, *values)]


async def _send(
    app: DataverseApp,
    context: Context,
    operation: Operation,
    table: str,
    ids: list[UUID],
    values: dict[str, Any],
) -> None:
    rows = [Row(id=row_id, values=dict(values)) for row_id in ids]
    await app.execute(context, Message(operation=operation, table=table, rows=rows))
