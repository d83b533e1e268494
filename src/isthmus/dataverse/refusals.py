"""Refusals in the words of the catalog: of rows that aren't there, and of what the database refuses."""

from __future__ import annotations

import re
from uuid import UUID

import asyncpg

from isthmus.dataverse.behaviour.lookups import missing_target
from isthmus.dataverse.schema import foreign_key_name, key_index_name
from isthmus.errors import Bug, Conflict, IsthmusError, NotFound
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table import Table

VALUE_IN_DETAIL = re.compile(r"\)=\((?P<value>[^)]*)\)")
"""`Key (column)=(value) ...`: how PostgreSQL names the offending value."""


def row_not_found(table: Table, row_id: UUID | int | None) -> NotFound:
    """The refusal of an id that no row has."""
    return NotFound(
        f"Entity '{table.logical_name}' With Id = {row_id} Does Not Exist",
        code="row_not_found",
        table=table.logical_name,
        id=str(row_id),
    )


def refused(catalog: Catalog, error: asyncpg.IntegrityConstraintViolationError) -> IsthmusError:
    """The error of ours for a constraint that a write ran into."""
    table = catalog.tables.get(error.table_name or "")
    if table is None:
        return Bug(f"A constraint was violated that no definition asks for: {error}")
    if isinstance(error, asyncpg.UniqueViolationError):
        return _duplicate(table, error)
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return _dangling(table, error)
    return Bug(f"A write to table '{table.logical_name}' broke a rule of its physical table: {error}")


def _duplicate(table: Table, error: asyncpg.UniqueViolationError) -> Conflict:
    for key in table.keys:
        if error.constraint_name == key_index_name(table.logical_name, key):
            return Conflict(
                f"A record that has the attribute values {', '.join(key.columns)} already exists in table "
                f"'{table.logical_name}'. The entity key {key.name} requires that this set of attributes contains "
                f"unique values: select unique values and try again.",
                code="duplicate_key",
                table=table.logical_name,
                key=key.name,
            )
    return Conflict(
        f"A record with matching key values already exists in table '{table.logical_name}': give another id, or none.",
        code="duplicate_id",
        table=table.logical_name,
    )


def _dangling(table: Table, error: asyncpg.ForeignKeyViolationError) -> IsthmusError:
    found = VALUE_IN_DETAIL.search(error.detail or "")
    value = found["value"] if found else "?"
    for column in table.columns:
        if column.type.is_lookup and error.constraint_name == foreign_key_name(table.logical_name, column.name):
            if "still referenced" in (error.detail or ""):
                return Conflict(
                    f"The record {value} is still pointed at by column '{column.name}' of table "
                    f"'{table.logical_name}': somebody wrote there meanwhile. Send the request again.",
                    code="record_in_use",
                    table=table.logical_name,
                    column=column.name,
                )
            return missing_target(table, column, column.targets[0], value)
    return Bug(f"A foreign key was violated that no definition asks for: {error}")
