"""Create: new rows of one table, in one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.apps.change import Change, Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.clock import now
from isthmus.dataverse.behaviour.audit import stamp_created
from isthmus.dataverse.behaviour.lookups import check_polymorphic_lookups
from isthmus.dataverse.behaviour.names import compose_name
from isthmus.dataverse.behaviour.owners import own_new_rows
from isthmus.dataverse.behaviour.states import default_states
from isthmus.dataverse.rows import as_json, columns_of, insert_sql
from isthmus.errors import Rejected
from isthmus.ids import new_row_id
from isthmus.metadata.table import Table, per_table
from isthmus.metadata.types import ColumnType

if TYPE_CHECKING:
    from isthmus.dataverse.app import DataverseApp

STATES = (ColumnType.STATE, ColumnType.STATUS)
"""Their defaults depend on each other (`behaviour.states`)."""


async def create(app: DataverseApp, context: Context, table: Table, message: Message) -> list[Change]:
    """Insert the rows with their defaults and system columns; fills `id`, `after` and returns the changes."""
    fetch = context.transaction.rows
    user = await app.users.of(fetch, context.principal)
    created = now().replace(microsecond=0)
    for row in message.rows:
        row.id = row.values.get(table.primary_id) or row.id or new_row_id()
        row.values[table.primary_id] = row.id
        _apply_defaults(table, row.values)
        default_states(table, row)
        compose_name(table, row)
        stamp_created(table, row, user, created)
        _require_columns(table, row.values)
    await own_new_rows(table, message.rows, app.users, fetch, user, by_dual_write=message.through is not None)
    await check_polymorphic_lookups(app.catalog, table, message.rows, fetch)
    columns = columns_of([row.values for row in message.rows])
    shown = app.shown_sql(table) if message.show else ""
    stored = await fetch(insert_sql(table, columns, shown), as_json(row.values for row in message.rows))
    versions = {record[0]: dict(record) for record in stored}
    images = dict.fromkeys(app.pipeline.images(Operation.CREATE, table.logical_name) | set(columns))
    changes = []
    for row in message.rows:
        assert row.id is not None
        row.shown = versions[row.id].pop("shown", None)
        row.after = {**images, **row.values, **versions[row.id]}
        changed = frozenset(name for name, value in row.values.items() if value is not None)
        given = frozenset(name for name in changed if name in row.given and row.given[name] == row.values[name])
        changes.append(
            Change(
                table=table.logical_name,
                operation=Operation.CREATE,
                id=row.id,
                columns=changed,
                given=given,
                through=message.through,
                after=row.after,
            )
        )
    return changes


def _apply_defaults(table: Table, values: dict[str, Any]) -> None:
    for name, default in column_defaults(table).items():
        if name not in values:
            values[name] = default


def _require_columns(table: Table, values: dict[str, Any]) -> None:
    """Columns that the system requires must have a value; what forms require (ApplicationRequired) is not asked here.

    The system itself fills state, owner and required choices.
    """
    for name in required_columns(table):
        if values.get(name) is None:
            raise required_column_missing(table, name)


def required_column_missing(table: Table, name: str) -> Rejected:
    """The refusal of a new row without a value that the system requires."""
    return Rejected(
        f"Required column '{name}' of table '{table.logical_name}' has no value: give one.",
        code="required_column",
        table=table.logical_name,
        column=name,
    )


@per_table
def column_defaults(table: Table) -> dict[str, Any]:
    """What a new row holds in columns that it gives no value for, states apart."""
    return {
        column.name: column.default
        for column in table.columns
        if column.default is not None and column.type not in STATES
    }


@per_table
def required_columns(table: Table) -> tuple[str, ...]:
    """The columns that a new row must have a value in."""
    return tuple(
        column.name
        for column in table.columns
        if column.required_level == "SystemRequired"
        and not column.read_only
        and column.is_stored
        and not column.type.is_choice
        and column.name != "ownerid"
    )
