"""Lookups: the row pointed at must exist and be of a table that the column may point at.

Lookups with one target are held by foreign keys. Those with several are checked here, and the rows they point at are
locked as a foreign key would lock them, so that nobody deletes them meanwhile.
"""

from __future__ import annotations

from uuid import UUID

from isthmus.apps.message import Row
from isthmus.dataverse.rows import present
from isthmus.dataverse.system_users import Fetch
from isthmus.errors import NotFound, Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table import Column, Table, per_table


def missing_target(table: Table, column: Column, target: str, row_id: object) -> NotFound:
    """The refusal of a lookup to a row that isn't there."""
    return NotFound(
        f"Entity '{target}' With Id = {row_id} Does Not Exist: it was given for column '{column.name}' of table "
        f"'{table.logical_name}'.",
        code="lookup_not_found",
        table=table.logical_name,
        column=column.name,
        value=str(row_id),
    )


async def check_polymorphic_lookups(catalog: Catalog, table: Table, rows: list[Row], fetch: Fetch) -> None:
    """Check lookups with several targets and set their type columns; `ownerid` is checked with the owners."""
    for column in _polymorphic(table):
        pointing = [row for row in rows if column.name in row.values]
        by_target: dict[str, set[UUID]] = {}
        untyped: set[UUID] = set()
        for row in pointing:
            value = row.values[column.name]
            if value is None:
                row.values[column.type_column] = None
            elif (kind := row.values.get(column.type_column)) is None:
                untyped.add(value)
            else:
                _check_target(table, column, kind)
                by_target.setdefault(kind, set()).add(value)
        if untyped:
            kinds = await _find_tables(catalog, column, untyped, fetch)
            for row in pointing:
                value = row.values[column.name]
                if value in untyped and row.values.get(column.type_column) is None:
                    if value not in kinds:
                        raise missing_target(table, column, " or ".join(column.targets), value)
                    row.values[column.type_column] = kinds[value]
                    by_target.setdefault(kinds[value], set()).add(value)
        for target, ids in sorted(by_target.items()):
            await _lock_targets(catalog.table(target), table, column, ids, fetch)


@per_table
def _polymorphic(table: Table) -> tuple[Column, ...]:
    return tuple(
        column for column in table.columns if column.is_stored and column.is_polymorphic and column.name != "ownerid"
    )


def _check_target(table: Table, column: Column, kind: str) -> None:
    if kind not in column.targets:
        raise Rejected(
            f"Column '{column.name}' of table '{table.logical_name}' points at rows of {', '.join(column.targets)}; "
            f"'{kind}' is none of them.",
            code="lookup_target",
            table=table.logical_name,
            column=column.name,
        )


async def _find_tables(catalog: Catalog, column: Column, ids: set[UUID], fetch: Fetch) -> dict[UUID, str]:
    found: dict[UUID, str] = {}
    for target in column.targets:
        if target in catalog.tables:
            for row_id in await present(catalog.tables[target], ids - found.keys(), fetch):
                found[row_id] = target
    return found


async def _lock_targets(target: Table, table: Table, column: Column, ids: set[UUID], fetch: Fetch) -> None:
    missing = ids - await present(target, ids, fetch, lock="for key share")
    if missing:
        raise missing_target(table, column, target.logical_name, min(missing))
