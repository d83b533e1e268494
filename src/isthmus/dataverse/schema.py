"""The physical schema of the Dataverse half: one PostgreSQL table per Dataverse table, in schema `dataverse`.

A table is called by its logical name and a column by its own; a polymorphic lookup has a second column beside it that
names the table it points at. Reads and writes of this package rely on what is said here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table import AlternateKey, Column, Table, per_table
from isthmus.query.quoting import quote_identifier
from isthmus.store.ddl import (
    ColumnDefinition,
    ForeignKey,
    IndexDefinition,
    TableDefinition,
    apply,
    identifier,
    qualified,
)

SCHEMA = "dataverse"

VERSION_DEFAULT = "nextval('isthmus.row_version')"
"""Row versions of all tables come from one sequence, as in Dataverse: a later change always has the higher number."""

UNINDEXED_LOOKUPS = frozenset(
    {
        "createdby",
        "modifiedby",
        "createdonbehalfby",
        "modifiedonbehalfby",
        "owningbusinessunit",
        "owningteam",
        "owninguser",
        "transactioncurrencyid",
    }
)
"""Lookups that every table has: an index on each would slow every write down for reads that hardly happen."""

UNINDEXED_TARGETS = frozenset({"cdm_company", "organization", "transactioncurrency"})
"""Tables so few rows of which exist that an index on a lookup to them finds nothing quickly."""


async def migrate(connection: Any, catalog: Catalog) -> list[str]:
    """Bring the database of the half to the catalog; returns the statements that were executed, none when equal."""
    await connection.execute("create schema if not exists isthmus")
    await connection.execute("create sequence if not exists isthmus.row_version as bigint cache 1")
    return await apply(connection, SCHEMA, table_definitions(catalog))


def sql_name(table: Table) -> str:
    """Quoted, schema-qualified name of the physical table."""
    return qualified(SCHEMA, table.logical_name)


@per_table
def physical_types(table: Table) -> dict[str, str]:
    """PostgreSQL type of each physical column, type columns of polymorphic lookups included."""
    return {definition.name: definition.type for definition in _columns(table)}


def foreign_key_name(table: str, column: str) -> str:
    """Name of the foreign key of a lookup; messages of refused writes are made from it."""
    return identifier(table, column, "fk")


def key_index_name(table: str, key: AlternateKey) -> str:
    """Name of the unique index of an alternate key."""
    return identifier(table, key.name, "key")


def indexed_expression(column: Column) -> str:
    """What an index over the column holds: text compares without regard to case."""
    quoted = quote_identifier(column.name)
    return f"lower({quoted})" if column.type.is_text else quoted


def table_definitions(catalog: Catalog) -> list[TableDefinition]:
    """The physical definition of every table of the catalog."""
    return [_definition(table, catalog) for table in catalog.tables.values()]


def _definition(table: Table, catalog: Catalog) -> TableDefinition:
    return TableDefinition(
        schema=SCHEMA,
        name=table.logical_name,
        columns=tuple(_columns(table)),
        primary_key=(table.primary_id,),
        indexes=tuple(_indexes(table, catalog)),
        foreign_keys=tuple(_foreign_keys(table, catalog)),
    )


def _columns(table: Table) -> Iterable[ColumnDefinition]:
    for column in table.columns:
        if not column.is_stored:
            continue
        if column.name == "versionnumber":
            yield ColumnDefinition(column.name, "bigint", VERSION_DEFAULT, not_null=True)
            continue
        yield ColumnDefinition(column.name, column.postgres, not_null=column.name == table.primary_id)
        if column.is_polymorphic and column.type_column not in table.column:
            yield ColumnDefinition(column.type_column, "text")


def _indexes(table: Table, catalog: Catalog) -> Iterable[IndexDefinition]:
    for key in table.keys:
        columns = [table.column[name] for name in key.columns]
        # A row with a null in a key is not held to it: Dataverse's rule, and what a unique index does by itself.
        yield IndexDefinition(
            key_index_name(table.logical_name, key),
            tuple(indexed_expression(column) for column in columns),
            unique=True,
        )
    led_by_key = {key.columns[0] for key in table.keys}
    if table.primary_name and table.primary_name not in led_by_key:
        column = table.column[table.primary_name]
        if column.is_stored and column.type.is_text:
            yield IndexDefinition(identifier(table.logical_name, column.name, "idx"), (indexed_expression(column),))
    lookups = catalog.lookups_of.get(table.logical_name, {})
    for name in sorted({relationship.column for relationship in lookups.values()}):
        column = table.column[name]
        if name in UNINDEXED_LOOKUPS or name in led_by_key or UNINDEXED_TARGETS.issuperset(column.targets):
            continue
        yield IndexDefinition(identifier(table.logical_name, name, "idx"), (quote_identifier(name),))


def _foreign_keys(table: Table, catalog: Catalog) -> Iterable[ForeignKey]:
    for column in table.columns:
        if not column.type.is_lookup or column.is_polymorphic or not column.is_stored:
            continue
        target = catalog.tables.get(column.targets[0]) if column.targets else None
        if target is None:
            continue
        yield ForeignKey(
            foreign_key_name(table.logical_name, column.name),
            (column.name,),
            SCHEMA,
            target.logical_name,
            (target.primary_id,),
        )
