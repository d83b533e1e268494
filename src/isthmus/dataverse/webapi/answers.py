"""The parts of answers that name a row."""

from __future__ import annotations

from uuid import UUID

from isthmus.metadata.table import Table


def row_address(base: str, table: Table, row_id: UUID | int | None) -> str:
    """The absolute address of a row: one GUID in brackets, which clients cut out."""
    return f"{base}/{table.entity_set_name}({row_id})"


def entity_id(base: str, table: Table, row_id: UUID | int | None) -> tuple[bytes, bytes]:
    """The header that names the row written."""
    return (b"odata-entityid", row_address(base, table, row_id).encode())
