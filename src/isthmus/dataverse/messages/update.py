"""Update: rows of one table by id; each row gives the columns it wants changed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from isthmus.apps.change import Change, Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.clock import now
from isthmus.dataverse.behaviour.audit import UPDATE_COLUMNS, stamp_modified
from isthmus.dataverse.behaviour.companies import keep_company
from isthmus.dataverse.behaviour.lookups import check_polymorphic_lookups
from isthmus.dataverse.behaviour.names import compose_name, needed_for_names
from isthmus.dataverse.behaviour.owners import reassign_rows
from isthmus.dataverse.behaviour.states import keep_states_consistent, needed_for_states
from isthmus.dataverse.cascade import cascade_assign
from isthmus.dataverse.refusals import row_not_found
from isthmus.dataverse.rows import Columns, as_json, lock_sql, update_sql
from isthmus.errors import Conflict
from isthmus.metadata.table import Table

if TYPE_CHECKING:
    from isthmus.dataverse.app import DataverseApp


async def update(app: DataverseApp, context: Context, table: Table, message: Message) -> list[Change]:
    """Lock the rows, work out what follows from what is given, write; fills `before`, `after`, returns the changes.

    A row that is given nothing new is written all the same: Dataverse sets `modifiedon` and a new version whenever it
    is asked to update. Such a row is no change. Raises NotFound, or Conflict when `version` does not stand any more.
    """
    fetch = context.transaction.rows
    user = await app.users.of(fetch, context.principal)
    await read_before(app, context, table, message.rows, Operation.UPDATE)
    modified = now().replace(microsecond=0)
    for row in message.rows:
        row.values.pop(table.primary_id, None)
        keep_states_consistent(table, row)
        keep_company(table, row)
        compose_name(table, row)
        stamp_modified(table, row, user, modified)
    await reassign_rows(table, message.rows, app.users, fetch)
    await check_polymorphic_lookups(app.catalog, table, message.rows, fetch)
    versions = await _write(context, table, message.rows)
    changes = []
    for row in message.rows:
        assert row.before is not None
        row.after = {**row.before, **row.values, **versions[row.id]}
        change = _change(table, message, row, row.before)
        if change is not None:
            changes.append(change)
    await cascade_assign(app, context, table, changes)
    return changes


async def read_before(app: DataverseApp, context: Context, table: Table, rows: list[Row], operation: Operation) -> None:
    """Lock the rows and fill their `before` images; NotFound or Conflict (`version_mismatch`) name the row."""
    columns = _image_columns(app, table, rows, operation)
    strength = "for update" if operation is Operation.DELETE else "for no key update"
    found = await context.transaction.rows(lock_sql(table, columns, strength), [row.id for row in rows])
    images = {record[table.primary_id]: dict(record) for record in found}
    for row in rows:
        row.before = images.get(row.id)
        if row.before is None:
            raise row_not_found(table, row.id)
        if row.version is not None and row.version != row.before.get("versionnumber"):
            raise Conflict(
                f"The version of the existing record doesn't match the version given for row {row.id} of table "
                f"'{table.logical_name}': somebody changed it meanwhile. Read it again.",
                code="version_mismatch",
                table=table.logical_name,
                id=str(row.id),
            )


def _image_columns(app: DataverseApp, table: Table, rows: list[Row], operation: Operation) -> Columns:
    written = frozenset().union(*(row.values.keys() for row in rows))
    needed = written | app.pipeline.images(operation, table.logical_name) | {table.primary_id}
    needed |= needed_for_names(table, written) | needed_for_states(table, written)
    system = {"versionnumber", "statecode", "ownerid", "modifiedon"} & table.column.keys()
    if table.company_column:
        system.add(table.company_column)
    for name in ("ownerid", *written):
        column = table.column.get(name)
        if column is not None and column.is_polymorphic and column.is_stored:
            system.add(column.type_column)
    return tuple(sorted(needed | system))


async def _write(context: Context, table: Table, rows: list[Row]) -> dict[Any, dict[str, Any]]:
    """One statement for all rows that write the same columns; returns id and new version of each row by id."""
    batches: dict[Columns, list[Row]] = defaultdict(list)
    for row in rows:
        batches[tuple(sorted(row.values))].append(row)
    versions: dict[Any, dict[str, Any]] = {}
    for columns, batch in batches.items():
        given = as_json({table.primary_id: row.id, **row.values} for row in batch)
        for record in await context.transaction.rows(update_sql(table, columns), given):
            versions[record[0]] = dict(record)
    return versions


def _change(table: Table, message: Message, row: Row, before: dict[str, Any]) -> Change | None:
    assert row.id is not None
    changed = {name for name, value in row.values.items() if before.get(name) != value}
    if message.through:
        stands = {**before, **row.values}
        changed |= {name for name, value in row.given.items() if name in stands and stands[name] != value}
    if changed <= UPDATE_COLUMNS:
        return None
    return Change(
        table=table.logical_name,
        operation=Operation.UPDATE,
        id=row.id,
        columns=frozenset(changed),
        given=frozenset(name for name in changed if name in row.given and row.given[name] == row.values[name]),
        through=message.through,
        before=before,
        after=row.after,
    )
