"""Who created and changed a row, and when."""

from __future__ import annotations

from datetime import date, datetime

from isthmus.apps.message import Row
from isthmus.dataverse.system_users import SystemUser
from isthmus.metadata.table import Table

UPDATE_COLUMNS = frozenset({"modifiedon", "modifiedby", "versionnumber"})
"""Columns that every update sets: when nothing else is new, the row has not changed."""


def stamp_created(table: Table, row: Row, user: SystemUser, now: datetime) -> None:
    """Set the four audit columns of a new row.

    `overriddencreatedon` takes effect as in Dataverse: the row then counts as created on that date, and the column
    keeps when it really was.
    """
    overridden: date | None = row.values.get("overriddencreatedon")
    created: date = now
    if overridden is not None:
        created = overridden
        column = table.column["overriddencreatedon"]
        row.values["overriddencreatedon"] = now.date() if column.is_date_only else now
    if not isinstance(created, datetime):
        created = datetime(created.year, created.month, created.day, tzinfo=now.tzinfo)
    stamps = {"createdon": created, "modifiedon": now, "createdby": user.id, "modifiedby": user.id}
    row.values.update((name, value) for name, value in stamps.items() if name in table.column)


def stamp_modified(table: Table, row: Row, user: SystemUser, now: datetime) -> None:
    """Set who changed the row and when; what an update says about its creation is ignored."""
    for name in ("createdon", "createdby", "overriddencreatedon"):
        row.values.pop(name, None)
    stamps = {"modifiedon": now, "modifiedby": user.id}
    row.values.update((name, value) for name, value in stamps.items() if name in table.column)
