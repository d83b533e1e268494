"""Set-based SQL over the rows of one table. The rows travel as one JSON parameter, so that the text of a statement
depends on the table and its columns only and PostgreSQL keeps it prepared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from isthmus.dataverse.schema import physical_types, sql_name
from isthmus.dataverse.system_users import Fetch
from isthmus.metadata.table import Table, per_table
from isthmus.query.quoting import quote_identifier

Columns = tuple[str, ...]


def _encodable(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"A value of type {type(value).__name__} can't be written.")


_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_encodable).encode


def as_json(rows: Iterable[dict[str, Any]]) -> str:
    """Rows as the text of a JSON array; binary data as PostgreSQL's hex text."""
    return _encode(
        [
            {name: "\\x" + value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
            for row in rows
        ]
    ).decode()


def _given(table: Table, columns: Columns) -> str:
    types = physical_types(table)
    defined = ", ".join(f"{quote_identifier(name)} {types[name]}" for name in columns)
    return f"json_to_recordset($1::json) as given({defined})"


WRITTEN = "written"
"""Alias of a row in the statement that inserts it."""


@per_table
def insert_sql(table: Table, columns: Columns, shown: str = "") -> str:
    """Insert rows; $1 is their JSON. Returns id, versionnumber and the value of `shown` (SQL over WRITTEN) of each."""
    names = ", ".join(map(quote_identifier, columns))
    version = ', "versionnumber"' if "versionnumber" in table.column else ""
    if shown:
        version += f", {shown} as shown"
    return (
        f"insert into {sql_name(table)} as {WRITTEN} ({names}) select {names} from {_given(table, columns)} "  # noqa: S608
        f"returning {quote_identifier(table.primary_id)}{version}"
    )


@per_table
def update_sql(table: Table, columns: Columns) -> str:
    """Update rows by id; $1 is their JSON, the id among the columns. Returns id and versionnumber of each."""
    key = quote_identifier(table.primary_id)
    changes = [f"{quote_identifier(name)} = given.{quote_identifier(name)}" for name in columns]
    returned = f"target.{key}"
    if "versionnumber" in table.column:
        changes.append("\"versionnumber\" = nextval('isthmus.row_version')")
        returned += ', target."versionnumber"'
    return (
        f"update {sql_name(table)} as target set {', '.join(changes)} "  # noqa: S608  (definitions)
        f"from {_given(table, (table.primary_id, *columns))} where target.{key} = given.{key} returning {returned}"
    )


@per_table
def lock_sql(table: Table, columns: Columns, strength: str) -> str:
    """Read and lock rows by id ($1), in the order of their ids so that two batches never deadlock.

    `strength` is `for update` before a delete, `for no key update` before an update: rows that point at the row may
    still come in meanwhile.
    """
    key = quote_identifier(table.primary_id)
    names = ", ".join(map(quote_identifier, columns))
    return (
        f"select {names} from {sql_name(table)} where {key} = any($1::uuid[]) "  # noqa: S608  (definitions)
        f"order by {key} {strength}"
    )


@per_table
def delete_sql(table: Table) -> str:
    """Delete rows by id ($1)."""
    return f"delete from {sql_name(table)} where {quote_identifier(table.primary_id)} = any($1::uuid[])"  # noqa: S608


@per_table
def _present_sql(table: Table, lock: str) -> str:
    key = quote_identifier(table.primary_id)
    return f"select {key} from {sql_name(table)} where {key} = any($1::uuid[]) order by {key} {lock}"  # noqa: S608


async def present(table: Table, ids: Iterable[UUID], fetch: Fetch, *, lock: str = "") -> set[UUID]:
    """Those of `ids` that are rows of the table; `lock` is how these are locked (`for key share`), by default not."""
    return {record[0] for record in await fetch(_present_sql(table, lock), sorted(ids))}


def columns_of(rows: Sequence[dict[str, Any]]) -> Columns:
    """All columns of the rows, in a fixed order."""
    return tuple(sorted(set().union(*rows)))
