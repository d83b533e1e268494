"""Full names of people: worked out from their parts."""

from __future__ import annotations

from typing import Any

from isthmus.apps.message import Row
from isthmus.metadata.table import Table

FULL_NAME = "fullname"
PARTS = ("firstname", "middlename", "lastname")
"""In the order of the organization's default full name format, first name first."""

MAX_FULL_NAME = 160


def name_parts(table: Table) -> tuple[str, ...]:
    """The columns that a table's `fullname` is made of; none where it has no such column."""
    if FULL_NAME not in table.column or "lastname" not in table.column:
        return ()
    return tuple(part for part in PARTS if part in table.column)


def needed_for_names(table: Table, columns: frozenset[str]) -> frozenset[str]:
    """Columns of the before image that an update of `columns` needs."""
    parts = frozenset(name_parts(table))
    return parts | {FULL_NAME} if (parts | {FULL_NAME}) & columns and parts else frozenset()


def compose_name(table: Table, row: Row) -> None:
    """Set `fullname` of contacts, leads and users from its parts when one of them is written.

    A full name that is given takes effect only on a row that has no parts: that is how one comes from a half that knows
    no parts.
    """
    parts = name_parts(table)
    if not parts or row.values.keys().isdisjoint((*parts, FULL_NAME)):
        return
    values: dict[str, Any] = {**(row.before or {}), **row.values}
    composed = " ".join(str(values[part]) for part in parts if values.get(part))
    if composed or FULL_NAME not in row.values:
        row.values[FULL_NAME] = composed[: table.column[FULL_NAME].max_length or MAX_FULL_NAME] or None
