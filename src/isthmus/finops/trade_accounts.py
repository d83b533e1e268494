"""What customers and vendors have in common: defaults that a new account takes from its group and its company."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.finops.data_sources import COMPANY, DataSources, table_sql_name
from isthmus.query.quoting import quote_identifier

if TYPE_CHECKING:
    from isthmus.finops.app import FinopsApp

LEDGER = "LedgerEntity"
"""The entity that tells a company's accounting currency."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group of accounts: the account's column that names it, the group's entity with its key, and the defaults it
    gives as (column of the account, field of the group)."""

    column: str
    entity: str
    key: str
    defaults: tuple[tuple[str, str], ...]


async def default_from_group(
    app: FinopsApp, sources: DataSources, context: Context, message: Message, table: str, group: Group
) -> None:
    """Fill empty fields of new accounts from their group."""
    group_field = sources.field_of(table, group.column)
    if group_field is None:
        return
    targets = [(field, source) for column, source in group.defaults if (field := sources.field_of(table, column))]
    waiting = [
        row for row in message.rows if row.values.get(group_field) and any(not row.values.get(f) for f, _ in targets)
    ]
    if not waiting:
        return
    keys = [(row.values[COMPANY], row.values[group_field]) for row in waiting]
    found = await _rows(app, context, group.entity, group.key, [source for _, source in targets], keys)
    for row, key in zip(waiting, keys, strict=True):
        for (field, _), value in zip(targets, found.get(_folded(key), ()), strict=False):
            _fill(row, field, value)


async def default_currency(
    app: FinopsApp, sources: DataSources, context: Context, message: Message, table: str
) -> None:
    """Fill the empty currency of new accounts with their company's accounting currency."""
    field = sources.field_of(table, "currency")
    if field is None:
        return
    waiting = [row for row in message.rows if not row.values.get(field)]
    if not waiting:
        return
    keys = [("", row.values[COMPANY]) for row in waiting]
    found = await _rows(app, context, LEDGER, "LegalEntityId", ["AccountingCurrency"], keys)
    for row, key in zip(waiting, keys, strict=True):
        for value in found.get(_folded(key), ()):
            _fill(row, field, value)


async def _rows(
    app: FinopsApp, context: Context, entity: str, key: str, fields: list[str], keys: list[tuple[str, str]]
) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Fields of the root rows of an entity, by (company, key) in lower case."""
    sources = app.compiled[entity]
    table = sources.root.table
    column = quote_identifier(sources.fields[key.lower()].column)
    company = "t.dataareaid" if table.company_specific else "''"
    selected = ", ".join(f"t.{quote_identifier(sources.fields[field.lower()].column)}" for field in fields)
    sql = (
        f"select {company}, lower(t.{column}), {selected} from {table_sql_name(table)} t "  # noqa: S608  (definitions)
        f"where lower(t.{column}) = any($1::text[])"
    )
    rows = await context.transaction.rows(sql, [value.lower() for _, value in keys])
    return {(row[0], row[1]): tuple(row)[2:] for row in rows}


def _fill(row: Row, field: str, value: Any) -> None:
    if not row.values.get(field):
        row.values[field] = value


def _folded(key: tuple[str, str]) -> tuple[str, str]:
    return key[0].lower(), key[1].lower()
