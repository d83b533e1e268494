"""Delete: rows of one table by id, once the rows that point at them have been dealt with as relationships say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.apps.change import Change, Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.dataverse.cascade import cascade_delete
from isthmus.dataverse.messages.update import read_before
from isthmus.dataverse.rows import delete_sql
from isthmus.errors import Bug, Rejected
from isthmus.metadata.table import Table

if TYPE_CHECKING:
    from isthmus.dataverse.app import DataverseApp

UNDELETABLE = frozenset({"systemuser", "organization", "businessunit"})
"""Tables whose rows are disabled instead: everything else points at them."""


async def delete(app: DataverseApp, context: Context, table: Table, message: Message) -> list[Change]:
    """Lock, cascade, delete; fills `before` and returns the changes. Raises NotFound, or Conflict when restricted."""
    if table.logical_name in UNDELETABLE:
        raise Rejected(
            f"Rows of table '{table.logical_name}' can't be deleted: disable the row instead.",
            code="not_deletable",
            table=table.logical_name,
        )
    await app.users.of(context.transaction.rows, context.principal)
    await read_before(app, context, table, message.rows, Operation.DELETE)
    ids = [row.id for row in message.rows]
    await cascade_delete(app, context, table, ids)
    tag = await context.transaction.run(delete_sql(table), ids)
    if tag != f"DELETE {len(ids)}":
        raise Bug(f"{tag} answered the delete of {len(ids)} locked rows of '{table.logical_name}'.")
    return [
        Change(
            table=table.logical_name,
            operation=Operation.DELETE,
            id=row.id,
            columns=frozenset(),
            given=frozenset(),
            through=message.through,
            before=row.before,
        )
        for row in message.rows
        if row.id is not None
    ]
