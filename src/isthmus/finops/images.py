"""Reading what a record is before it is written: its rows in all data sources concerned, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from isthmus.finops.data_sources import (
    COMPANY,
    RECID,
    VERSION,
    DataSources,
    Image,
    Source,
    column_type,
    fixed_conditions,
    given_rows,
    postgres_type,
)
from isthmus.finops.values import encode
from isthmus.metadata.types import FieldType
from isthmus.query.quoting import quote_identifier
from isthmus.store.transaction import Transaction

Column = tuple[str, str]
"""A (data source, physical column)."""

KEPT = 4096
"""Statements that are kept as they were written; there is one for each set of fields that is written together."""

MANY = 17
"""From so many rows on, a statement is the same however many there are (`data_sources.given_rows`)."""


@lru_cache(maxsize=KEPT)
def needed_columns(sources: DataSources, fields: frozenset[str]) -> tuple[Column, ...]:
    """Columns to read for a write of these fields: theirs, and those that link their data sources to the root."""
    touched: set[str] = {sources.root.name}
    columns: set[Column] = {(sources.root.name, RECID), (sources.root.name, VERSION)}
    if sources.root.table.company_specific:
        columns.add((sources.root.name, COMPANY))
    for name in fields:
        binding = sources.fields[name]
        columns.add((binding.source, binding.column))
        touched.update((binding.source, *sources.ancestors[binding.source]))
    for name in touched:
        source = sources.sources[name]
        columns.add((name, RECID))
        if source.parent is not None:
            columns.update((source.parent, theirs) for _, theirs in source.on)
    return tuple(sorted(columns))


def version_columns(sources: DataSources) -> tuple[Column, ...]:
    """The row versions that make up the version of the record: the newest of them."""
    return tuple((name, VERSION) for name in sources.versioned)


async def lock(
    transaction: Transaction, sources: DataSources, recids: Sequence[int], columns: tuple[Column, ...]
) -> dict[int, Image]:
    """Lock root rows, in the order of their RecIds, and read `columns` of their records. Absent ones are left out."""
    rows = await transaction.rows(_lock_sql(sources, columns), list(recids))
    return {row[0]: dict(zip(columns, tuple(row)[1:], strict=True)) for row in rows}


async def find(
    transaction: Transaction,
    sources: DataSources,
    name: str,
    key: tuple[str, ...],
    values: Sequence[dict[str, Any]],
    columns: tuple[Column, ...],
) -> dict[int, Image]:
    """Find rows of data source `name` by natural key; read `columns` of it and of the sources below it.

    `key` are physical columns of the source, `values` have them each, and `dataareaid` for a company-specific table.
    The answer is by position in `values`; keys that name no row are left out.
    """
    sql = _find_sql(sources, name, key, columns, min(len(values), MANY))
    rows = await transaction.rows(sql, encode([{"ordinal": ordinal, **value} for ordinal, value in enumerate(values)]))
    return {row[0]: dict(zip(columns, tuple(row)[1:], strict=True)) for row in rows}


@lru_cache(maxsize=KEPT)
def _find_sql(sources: DataSources, name: str, key: tuple[str, ...], columns: tuple[Column, ...], count: int) -> str:
    source = sources.sources[name]
    typed = {column: postgres_type(source.table, column) for column in key}
    conditions = [_matches(source, column, column) for column in key]
    if source.table.company_specific:
        typed[COMPANY] = "text"
        conditions.append(_matches(source, COMPANY, COMPANY))
    return (
        f"select k.ordinal, {_selected(sources, columns)} "  # noqa: S608  (definitions)
        f"from {given_rows('k', {'ordinal': 'integer', **typed}, count)} "
        f"join {source.sql_name} {source.alias} on {' and '.join(conditions)}"
        f"{sources.joins(name, (below for below, _ in columns))}"
    )


async def find_records(
    transaction: Transaction, sources: DataSources, keys: Sequence[dict[str, Any]]
) -> list[int | None]:
    """RecIds of records by key (values by lower-case field), in the order of `keys`; None where there is none."""
    if not keys:
        return []
    sql = _find_records_sql(sources, min(len(keys), MANY))
    rows = await transaction.rows(sql, encode([{"ordinal": ordinal, **key} for ordinal, key in enumerate(keys)]))
    found = {record["ordinal"]: record["recid"] for record in rows}
    return [found.get(ordinal) for ordinal in range(len(keys))]


@lru_cache(maxsize=KEPT)
def _find_records_sql(sources: DataSources, count: int) -> str:
    root = sources.root
    conditions, typed, touched = fixed_conditions(root, root.alias), {"ordinal": "integer"}, []
    for key in sources.entity.keys:
        name = key.lower()
        if name == COMPANY and root.table.company_specific:
            source, column = root, COMPANY
        else:
            binding = sources.fields[name]
            source, column = sources.sources[binding.source], binding.column
        touched.append(source.name)
        typed[name] = postgres_type(source.table, column)
        conditions.append(_matches(source, column, name))
    return (
        f"select k.ordinal, {root.alias}.recid from {given_rows('k', typed, count)} "  # noqa: S608  (definitions)
        f"cross join {root.sql_name} {root.alias}{sources.joins(root.name, touched)} where {' and '.join(conditions)}"
    )


def _matches(source: Source, column: str, key: str) -> str:
    """SQL that holds where a column has the value `key` of the rows `k` that are looked for."""
    ours, theirs = f"{source.alias}.{quote_identifier(column)}", f"k.{quote_identifier(key)}"
    if column_type(source.table, column) is FieldType.STRING:
        return f"lower({ours}) = lower({theirs})"
    return f"{ours} = {theirs}"


@lru_cache(maxsize=KEPT)
def _lock_sql(sources: DataSources, columns: tuple[Column, ...]) -> str:
    """The locked rows are read from the lock itself: a snapshot taken before a wait would show them as they were."""
    root = sources.root
    conditions = " and ".join([f"{root.alias}.recid = any($1::bigint[])", *fixed_conditions(root, root.alias)])
    own = sorted({RECID, *(column for name, column in columns if name == root.name), *_linking(sources)})
    selected = ", ".join(f"{root.alias}.{quote_identifier(column)}" for column in own)
    return (
        f"with locked as materialized (select {selected} from {root.sql_name} {root.alias} where {conditions} "  # noqa: S608
        f"order by {root.alias}.recid for update) "
        f"select {root.alias}.recid, {_selected(sources, columns)} from locked {root.alias}"
        f"{sources.joins(root.name, (name for name, _ in columns))}"
    )


def _linking(sources: DataSources) -> set[str]:
    """Columns of the root that joins to its data sources use."""
    linking = {theirs for child in sources.children[sources.root.name] for _, theirs in sources.sources[child].on}
    return linking | ({COMPANY} if sources.root.table.company_specific else set())


def _selected(sources: DataSources, columns: tuple[Column, ...]) -> str:
    """RecIds and versions are null where the row is absent, other columns then have their "no value"."""
    parts = []
    for name, column in columns:
        if column in (RECID, VERSION):
            parts.append(f"{sources.sources[name].alias}.{column}")
        else:
            parts.append(sources.column_sql(name, column))
    return ", ".join(parts)
