"""Rules for Dataverse tables and their relationships."""

from __future__ import annotations

import re
from collections.abc import Iterator

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check.fault import Fault
from isthmus.metadata.table import Column, Table
from isthmus.metadata.types import ColumnType

SAFE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
LONGEST_NAME = 63
"""Bytes of a PostgreSQL identifier."""


def file_of(table: Table) -> str:
    """Definition file of a table."""
    return f"{table.solution}/tables/{table.logical_name}.toml"


def names_are_safe(catalog: Catalog) -> Iterator[Fault]:
    """Names become identifiers of the database: letters, digits and underscores, at most 63 bytes."""
    for table in catalog.tables.values():
        file = file_of(table)
        yield from unsafe(file, None, table.logical_name)
        for row, column in enumerate(table.columns, 1):
            yield from unsafe(file, row, column.name)
            if column.is_polymorphic:
                yield from unsafe(file, row, column.type_column)
        for key in table.keys:
            yield from unsafe(file, None, key.name)


def unsafe(file: str, row: int | None, name: str) -> Iterator[Fault]:
    """A fault when `name` cannot be an identifier of the database."""
    if not SAFE_NAME.match(name):
        message = "is not a name: use letters, digits and underscores, beginning with a letter."
        yield Fault(file=file, row=row, code="name_unsafe", field=name, message=message)
    elif len(name.encode()) > LONGEST_NAME:
        message = f"is longer than the {LONGEST_NAME} bytes the database holds; shorten it."
        yield Fault(file=file, row=row, code="name_too_long", field=name, message=message)


def names_are_unique(catalog: Catalog) -> Iterator[Fault]:
    """Columns within a table, and entity sets, occur once; case makes no difference."""
    sets: dict[str, str] = {}
    for table in catalog.tables.values():
        file = file_of(table)
        other = sets.setdefault(table.entity_set_name.lower(), table.logical_name)
        if other != table.logical_name:
            message = f"is the entity set of table {other} too; give each table its own."
            yield Fault(file=file, code="name_twice", field=table.entity_set_name, message=message)
        seen: set[str] = set()
        for row, column in enumerate(table.columns, 1):
            if column.name.lower() in seen:
                message = "is listed twice; remove one."
                yield Fault(file=file, row=row, code="name_twice", field=column.name, message=message)
            seen.add(column.name.lower())


def columns_are_complete(catalog: Catalog) -> Iterator[Fault]:
    """Primary columns exist, lookups have targets that exist, choices have options, defaults are among them."""
    for table in catalog.tables.values():
        file = file_of(table)
        for name in (table.primary_id, table.primary_name, table.company_column):
            if name is not None and name not in table.column:
                message = "is named by the table but not among its columns; add it or name another."
                yield Fault(file=file, code="column_unknown", field=name, message=message)
        for row, column in enumerate(table.columns, 1):
            for message in _incomplete(catalog, column):
                yield Fault(file=file, row=row, code="column_incomplete", field=column.name, message=message)


def _incomplete(catalog: Catalog, column: Column) -> Iterator[str]:
    if column.type.is_lookup and not column.targets:
        yield "is a lookup without targets; name the tables it may point at."
    for target in column.targets:
        if target not in catalog.tables:
            yield f"points at table '{target}', which is not there; add the table or drop the target."
    if column.type.is_choice:
        values = {option.value for option in column.options}
        if not values:
            yield "is a choice without options; list them."
        if len(values) < len(column.options):
            yield "has two options of one value; give each its own."
        if column.default is not None and column.default not in values:
            yield f"has the default {column.default}, which is none of its options."
    if column.type is ColumnType.BOOLEAN and not isinstance(column.default, bool | None):
        yield f"is a yes/no column with the default {column.default}; use true or false."


def keys_name_columns(catalog: Catalog) -> Iterator[Fault]:
    """An alternate key lists columns of its table; that of a company-specific table tells its company apart."""
    for table in catalog.tables.values():
        file = file_of(table)
        for row, key in enumerate(table.keys, 1):
            unknown = [name for name in key.columns if name not in table.column]
            for name in unknown:
                message = f"is in key {key.name} but no column of the table; add it or take it out."
                yield Fault(file=file, row=row, code="key_column_unknown", field=name, message=message)
            if not unknown and table.company_column and not _holds_company(catalog, table, key.columns):
                message = f"has no company; add {table.company_column}, or rows of two companies exclude each other."
                yield Fault(file=file, row=row, code="key_without_company", field=key.name, message=message)


def _holds_company(catalog: Catalog, table: Table, columns: tuple[str, ...]) -> bool:
    """Whether key columns tell the company: the company itself, or a row that belongs to one."""
    if table.company_column in columns:
        return True
    targets = [target for name in columns for target in table.column[name].targets]
    return any(target in catalog.tables and catalog.tables[target].company_column for target in targets)


def navigation_names_are_unique(catalog: Catalog) -> Iterator[Fault]:
    """Navigation properties of a table differ from each other, schema names from all others."""
    owners: dict[tuple[str, str], str] = {}
    schema_names: set[str] = set()
    for relationship in catalog.one_to_many:
        file = file_of(catalog.tables[relationship.referencing])
        both = f"{relationship.column} -> {relationship.referenced}"
        if relationship.schema_name.lower() in schema_names:
            message = f"names the relationship {both}, and another one; give each its own schema name."
            yield Fault(file=file, code="name_twice", field=relationship.schema_name, message=message)
        schema_names.add(relationship.schema_name.lower())
        for table, name in (
            (relationship.referencing, relationship.lookup_navigation),
            (relationship.referenced, relationship.collection_navigation),
        ):
            other = owners.setdefault((table, name.lower()), both)
            if other != both:
                message = f"is a navigation property of {table} for {both} and a second one ({other}); rename one."
                yield Fault(file=file, code="name_twice", field=name, message=message)
