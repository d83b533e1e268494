"""The database of the half: one table per F&O table, one view per data entity, and the counters in schema `isthmus`."""

from __future__ import annotations

from typing import Any

from isthmus.finops.data_sources import (
    COMPANY,
    RECID,
    SCHEMA,
    SYSTEM_COLUMNS,
    VERSION,
    Compiled,
    DataSources,
    column_type,
    fixed_conditions,
    postgres_type,
    stored_columns,
)
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity, FinopsTable
from isthmus.metadata.types import FIELD_NO_VALUE, FieldType
from isthmus.query.quoting import quote_identifier
from isthmus.store.ddl import ColumnDefinition, IndexDefinition, TableDefinition, ViewDefinition, apply, identifier

FIRST_RECID = 5637144576
"""F&O's first RecId of a business record."""

RECID_BLOCK = 256
"""RecIds that a process takes at a time; F&O does the same."""

_COUNTERS = f"""
create schema if not exists isthmus;
create sequence if not exists isthmus.recid start {FIRST_RECID} increment {RECID_BLOCK};
create sequence if not exists isthmus.recversion;
create table if not exists isthmus.number_sequence (
    name text not null, dataareaid text not null, next bigint not null, primary key (name, dataareaid)
);
"""


async def migrate(connection: Any, catalog: Catalog) -> list[str]:
    """Bring the half's database to the catalog; the statements that were executed on schema `finops`."""
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtextextended('isthmus.finops.counters', 0))")
        await connection.execute(_COUNTERS)
    return await apply(connection, SCHEMA, tables(catalog), views(catalog))


def tables(catalog: Catalog) -> list[TableDefinition]:
    """Definitions of all tables. There are no foreign keys: as in F&O, business logic checks references."""
    joined = _joined_columns(catalog)
    return [_table(table, sorted(joined.get(table.name, ()))) for table in catalog.finops_tables.values()]


def views(catalog: Catalog) -> list[ViewDefinition]:
    """Definitions of all views."""
    compiled = Compiled(catalog)
    return [
        ViewDefinition(SCHEMA, view_name(catalog, entity), _view_sql(compiled[entity.aot_name]))
        for entity in catalog.entities.values()
    ]


def view_name(catalog: Catalog, entity: Entity) -> str:
    """Name of an entity's view: its AOT name in lower case, with `_entity` behind it where a table is called that."""
    taken = any(table.relation == entity.relation for table in catalog.finops_tables.values())
    return f"{entity.relation}_entity" if taken else entity.relation


def source_recid(source: str) -> str:
    """Column of a view that holds the RecId of a data source other than the root; null where the row is absent."""
    return f"{source.lower()}_recid"


def _table(table: FinopsTable, joined: list[str]) -> TableDefinition:
    columns = tuple(_column(table, name) for name in stored_columns(table))
    indexes: dict[str, IndexDefinition] = {}
    for unique, lists in ((True, table.unique_indexes), (False, table.indexes)):
        for fields in lists:
            index = _index(table, [name.lower() for name in fields], unique)
            indexes.setdefault(index.name, index)
    covered = {index.expressions[0] for index in indexes.values()}
    for column in joined:
        # Without the company in front: a party is looked for in all companies.
        expression = _indexed(table, column)
        if expression not in covered:
            name = identifier(table.relation, column, "join")
            indexes[name] = IndexDefinition(name, (expression,))
    return TableDefinition(SCHEMA, table.relation, columns, (RECID,), tuple(indexes.values()))


def _column(table: FinopsTable, name: str) -> ColumnDefinition:
    kind = postgres_type(table, name)
    if name in (RECID, COMPANY):
        return ColumnDefinition(name, kind, None, True)
    if name == VERSION:
        return ColumnDefinition(name, kind, "nextval('isthmus.recversion')", True)
    if name in ("createddatetime", "modifieddatetime"):
        return ColumnDefinition(name, kind, "now()", True)
    return ColumnDefinition(name, kind, FIELD_NO_VALUE[column_type(table, name)], True)


def _index(table: FinopsTable, columns: list[str], unique: bool) -> IndexDefinition:
    """An index that company leads where the table has one; text is compared without regard to case."""
    expressions = [_indexed(table, COMPANY)] if table.company_specific else []
    expressions += [_indexed(table, column) for column in columns if column != COMPANY]
    name = identifier(table.relation, *columns, "key" if unique else "index")
    return IndexDefinition(name, tuple(expressions), unique)


def _indexed(table: FinopsTable, column: str) -> str:
    quoted = quote_identifier(column)
    return f"lower({quoted})" if column_type(table, column) is FieldType.STRING else quoted


def _joined_columns(catalog: Catalog) -> dict[str, set[str]]:
    """By table: the columns that data sources are joined on, looked at from both ends."""
    found: dict[str, set[str]] = {}
    for entity in catalog.entities.values():
        for source in entity.data_sources:
            for ours, theirs in source.on:
                found.setdefault(source.table, set()).add(ours.lower())
                found.setdefault(entity.source[source.parent or ""].table, set()).add(theirs.lower())
    return {table: columns - set(SYSTEM_COLUMNS) for table, columns in found.items()}


def _view_sql(sources: DataSources) -> str:
    """One row per root record: its fields, the RecIds of its data sources, and the newest row version among them."""
    root = sources.root
    others = [source for source in sources.sources.values() if source is not root]
    versions = [f"{sources.sources[name].alias}.recversion" for name in sources.versioned]
    columns = {RECID: f"{root.alias}.recid"}
    if root.table.company_specific:
        columns[COMPANY] = f"{root.alias}.dataareaid"
    columns[VERSION] = f"greatest({', '.join(versions)})"
    for source in others:
        columns[source_recid(source.name)] = f"{source.alias}.recid"
    for name, binding in sources.fields.items():
        columns.setdefault(name, sources.column_sql(binding.source, binding.column))
    selected = ", ".join(f"{sql} as {quote_identifier(name)}" for name, sql in columns.items())
    conditions = fixed_conditions(root, root.alias)
    where = f" where {' and '.join(conditions)}" if conditions else ""
    joins = sources.joins(root.name, (source.name for source in others))
    return f"select {selected} from {root.sql_name} {root.alias}{joins}{where}"  # noqa: S608  (definitions)
