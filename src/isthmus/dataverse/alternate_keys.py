"""Alternate keys: columns whose values identify a row instead of its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from isthmus.dataverse.rows import as_json
from isthmus.dataverse.schema import physical_types, sql_name
from isthmus.dataverse.system_users import Fetch
from isthmus.errors import Rejected
from isthmus.metadata.table import AlternateKey, Table, per_table
from isthmus.query.quoting import quote_identifier

ROW_NUMBER = "isthmus_row_number"


def declared_key(table: Table, columns: frozenset[str]) -> AlternateKey:
    """The key of the table over exactly these columns; Rejected (`key_not_declared`) when it has none."""
    for key in table.keys:
        if columns == frozenset(key.columns):
            return key
    known = "; ".join(", ".join(key.columns) for key in table.keys) or "none"
    raise Rejected(
        f"The specified key attributes {', '.join(sorted(columns))} are not a defined key for table "
        f"'{table.logical_name}'. Its alternate keys: {known}.",
        code="key_not_declared",
        table=table.logical_name,
    )


async def find_by_keys(table: Table, rows: Sequence[Mapping[str, Any]], fetch: Fetch) -> list[UUID | None]:
    """The ids of the rows with these values of one alternate key, by physical column; None where there is no row.

    All of `rows` give the same columns. Rejected (`key_not_declared`) when these are no key of the table.
    """
    if not rows:
        return []
    key = declared_key(table, frozenset(rows[0]))
    columns = tuple(sorted(key.columns))
    found = await fetch(_find_sql(table, columns), as_json({**row, ROW_NUMBER: n} for n, row in enumerate(rows)))
    ids = {record[0]: record[1] for record in found}
    return [ids.get(number) for number in range(len(rows))]


@per_table
def _find_sql(table: Table, columns: tuple[str, ...]) -> str:
    types = physical_types(table)
    conditions = []
    for name in columns:
        quoted = quote_identifier(name)
        is_text = table.column[name].type.is_text
        conditions.append(
            f"lower(stored.{quoted}) = lower(given.{quoted})" if is_text else f"stored.{quoted} = given.{quoted}"
        )
    defined = ", ".join(f"{quote_identifier(name)} {types[name]}" for name in columns)
    return (
        f"select given.{ROW_NUMBER}, stored.{quote_identifier(table.primary_id)} "  # noqa: S608  (definitions)
        f"from json_to_recordset($1::json) as given({ROW_NUMBER} integer, {defined}) "
        f"join {sql_name(table)} stored on {' and '.join(conditions)}"
    )
