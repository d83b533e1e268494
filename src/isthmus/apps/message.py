"""Messages: the operations that an app carries out, always on a batch of rows of one table or entity."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from isthmus.apps.change import Operation


class Row(msgspec.Struct, kw_only=True):
    """One row of a message.

    `id` is the primary id (Dataverse) or the RecId of the root record (F&O); None on create until it is given out.
    `values` are by physical column (Dataverse; a polymorphic lookup also sets its type column) or by lower-case entity
    field (F&O), in Python's types: str, int, Decimal, float, bool, UUID, datetime with zone, date, list[int], None.
    Steps before the main operation may change `values`. `given` is what the caller asked for, kept apart so that what
    business logic adds can be told from it. `version` asks for optimistic concurrency: the row version that must still
    stand. `before` and `after` are images of the row, filled in by the main operation: the columns written, those that
    registered steps ask for, and the row's system columns. `shown` is the row as it is shown on the wire, when the
    message asks for it: what the main operation wrote.
    """

    id: UUID | int | None = None
    values: dict[str, Any] = {}
    given: dict[str, Any] = {}
    version: int | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    shown: str | None = None


class Message(msgspec.Struct, kw_only=True):
    """Create, update or delete of `rows`, all of one `table` (Dataverse) or data entity (F&O, its AOT name).

    `through` names the table map when live sync sends the message. `show` asks a create on Dataverse for `Row.shown`.
    """

    operation: Operation
    table: str
    rows: list[Row]
    through: str | None = None
    show: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if not row.given:
                row.given = dict(row.values)
