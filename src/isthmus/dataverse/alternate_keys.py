"""Alternate keys: columns whose values identify a row instead of its id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from isthmus.dataverse.schema import sql_name
from isthmus.dataverse.system_users import Fetch
from isthmus.errors import Rejected
from isthmus.metadata.table import AlternateKey, Table
from isthmus.query.quoting import quote_identifier


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


async def find_by_key(table: Table, values: Mapping[str, Any], fetch: Fetch) -> UUID | None:
    """The id of the row with these values of an alternate key, by physical column; None when there is none."""
    key = declared_key(table, frozenset(values))
    conditions = []
    for number, name in enumerate(key.columns, start=1):
        quoted = quote_identifier(name)
        is_text = table.column[name].type.is_text
        conditions.append(f"lower({quoted}) = lower(${number})" if is_text else f"{quoted} = ${number}")
    identity = quote_identifier(table.primary_id)
    sql = f"select {identity} from {sql_name(table)} where {' and '.join(conditions)}"  # noqa: S608
    found = await fetch(sql, *(values[name] for name in key.columns))
    return found[0][0] if found else None
