"""A change: one row created, updated or deleted in a transaction of one half."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec


class Operation(StrEnum):
    CREATE = "Create"
    UPDATE = "Update"
    DELETE = "Delete"


class Change(msgspec.Struct, kw_only=True):
    """One row changed.

    `table` is a Dataverse table's logical name or the name of an F&O table; `id` its primary id or RecId. `columns` are
    the physical columns whose values really changed (on create: those with a value), and of a change that came from the
    partner half also those that business logic did not let change: the partner has to take them back. `given` are those
    of them that hold exactly what the request gave; the rest was worked out by business logic. `through` is the table
    map that brought the change from the partner half, None when it began here.
    """

    table: str
    operation: Operation
    id: UUID | int
    columns: frozenset[str]
    given: frozenset[str]
    through: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
