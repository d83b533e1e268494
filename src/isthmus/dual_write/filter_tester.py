"""The filters of a table map, tried: which records pass now on each half, and why one record does or does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from isthmus.apps.principal import Half
from isthmus.dataverse.relations import relation as table_relation
from isthmus.dataverse.schema import sql_name
from isthmus.dual_write.filter_words import condition_text, note_on
from isthmus.dual_write.filters import dataverse_filter, finops_filter
from isthmus.dual_write.leg_sql import entity_rows, key_rows
from isthmus.dual_write.leg_to_dataverse import key_from_finops
from isthmus.dual_write.leg_to_finops import LookupJoins, company_code, key_from_dataverse
from isthmus.dual_write.preview import named_record
from isthmus.dual_write.shown_key import shown_key
from isthmus.errors import NotFound
from isthmus.finops.data_sources import Compiled
from isthmus.finops.relations import relation as entity_relation
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap
from isthmus.query.leaves import Leaf, expressions_of, paths_of
from isthmus.query.model import And, Condition, Not, Or, Path
from isthmus.query.odata import parse_filter
from isthmus.query.quoting import quote_identifier
from isthmus.query.ranges import parse_range
from isthmus.query.sql import compile_condition
from isthmus.store.pool import Pool
from isthmus.store.snapshot import snapshot

SAMPLE = 20
"""Records that are shown of those that pass, and of those that do not."""


class Shown(msgspec.Struct, frozen=True):
    """A record: its id, and its integration key with commas between the parts."""

    id: int | UUID
    key: str | None


class Matching(msgspec.Struct, frozen=True, kw_only=True):
    """How a filter divides the records of one half. `passing` and `failing` are the first few by id."""

    half: Half
    filter: str
    records: int
    passes: int
    passing: tuple[Shown, ...]
    failing: tuple[Shown, ...]


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of a filter, asked of one record.

    `text` is the condition in the notation of its half. A condition with `parts` follows from theirs (`how`: `and`,
    `or`, `not`). One without names the `values` that the record holds, by field, and says in `note` what is to be known
    about them: that there is none, that null is not the empty text.
    """

    text: str
    holds: bool
    how: str | None = None
    parts: tuple[Explained, ...] = ()
    values: dict[str, str | None] = {}
    note: str | None = None


class _Half(msgspec.Struct, frozen=True):
    """Where the records of a half are read from, and what the filter says of them."""

    source: str
    identity: str
    key: str
    filter: str
    condition: Condition | None
    alias: str


class FilterTester:
    """Tries the filters of table maps, saved or not, on the records of one environment. It only reads."""

    def __init__(self, dataverse: Pool, finops: Pool, catalog: Catalog) -> None:
        self._pools: dict[Half, Pool] = {"dataverse": dataverse, "finops": finops}
        self._catalog = catalog

    async def matching(self, table_map: TableMap, half: Half) -> Matching:
        """Which records of a half pass now. Rejected when the filter can't be read."""
        side = self._half(table_map, half)
        passes = "true" if side.condition is None else f"coalesce({_sql(side.condition, side.alias)}, false)"
        records = f"select {side.identity} as id, {side.key} as key, {passes} as passes from {side.source}"  # noqa: S608  (definitions)
        counted = f"select count(*) as records, count(*) filter (where passes) as passes from ({records}) r"  # noqa: S608
        shown = f"select id, key from ({records}) r where passes = $1 order by id limit {SAMPLE}"  # noqa: S608
        async with snapshot(self._pools[half]) as connection:
            counts = await connection.fetchrow(counted)
            passing, failing = await connection.fetch(shown, True), await connection.fetch(shown, False)
        return Matching(
            half=half,
            filter=side.filter,
            records=counts["records"],
            passes=counts["passes"],
            passing=tuple(_shown(row) for row in passing),
            failing=tuple(_shown(row) for row in failing),
        )

    async def explain(self, table_map: TableMap, half: Half, record: int | UUID | str) -> Explained:
        """Each condition of the filter asked of one record, by id or key. NotFound when there is no such record."""
        side = self._half(table_map, half)
        asked: list[Condition] = [] if side.condition is None else list(_all(side.condition))
        columns = sorted({path.column.physical for condition in asked for path in _paths(condition)})
        outcomes = ", ".join(f"coalesce({_sql(condition, side.alias)}, false)" for condition in asked)
        values = ", ".join(f"{side.alias}.{quote_identifier(name)}::text" for name in columns)
        named = named_record(half, record)
        where = f"{side.key} = $1" if isinstance(named, str) else f"{side.identity} = $1"
        read = f"array[{outcomes}]::boolean[] as outcomes, array[{values}]::text[] as values"
        async with snapshot(self._pools[half]) as connection:
            row = await connection.fetchrow(f"select {read} from {side.source} where {where}", named)  # noqa: S608
        if row is None:
            raise NotFound(
                f"There is no record {record} on the {half} half.", code="record_not_found", table_map=table_map.name
            )
        if side.condition is None:
            return Explained(text="", holds=True, note="There is no filter: every record passes.")
        held = dict(zip(map(id, asked), row["outcomes"], strict=True))
        texts = dict(zip(columns, row["values"], strict=True))
        return _explained(side.condition, half, held, texts)

    def _half(self, table_map: TableMap, half: Half) -> _Half:
        catalog = self._catalog
        entity, table = catalog.entity(table_map.entity), catalog.table(table_map.table)
        if half == "finops":
            compiled = finops_filter(table_map, entity, catalog, "v")
            keys = [row.finops for _, row in key_rows(table_map, catalog) if row and row.finops]
            rows = entity_rows(Compiled(catalog)[entity.aot_name], [*keys, *compiled.fields])
            text = table_map.finops_filter
            condition = parse_range(text, entity_relation(catalog, entity)) if text else None
            key = key_from_finops(table_map, entity, catalog)
            return _Half(f"({rows}) v", "v.recid", key, text, condition, "v")
        dataverse_filter(table_map, table, catalog, "t")
        text = table_map.dataverse_filter
        condition = parse_filter(text, table_relation(catalog, table), {}) if text else None
        joins = LookupJoins(table)
        key = key_from_dataverse(table_map, catalog, joins, company_code(table, catalog, joins))
        source, identity = f"{sql_name(table)} t{joins.sql}", f"t.{quote_identifier(table.primary_id)}"
        return _Half(source, identity, key, text, condition, "t")


def _sql(condition: Condition, alias: str) -> str:
    return compile_condition(condition, alias, [], inline=True)


def _all(condition: Condition) -> Sequence[Condition]:
    """The condition and all its parts."""
    match condition:
        case And(parts) | Or(parts):
            return [condition, *(each for part in parts for each in _all(part))]
        case Not(inner):
            return [condition, *_all(inner)]
    return [condition]


def _paths(condition: Condition) -> list[Path]:
    """The columns that a condition without parts compares."""
    if not isinstance(condition, Leaf):
        return []
    return [path for expression in expressions_of(condition) for path in paths_of(expression)]


def _explained(condition: Condition, half: Half, held: dict[int, bool], texts: dict[str, str | None]) -> Explained:
    text, holds = condition_text(condition, half), held[id(condition)]
    match condition:
        case And(parts) | Or(parts):
            how = "and" if isinstance(condition, And) else "or"
            explained = tuple(_explained(part, half, held, texts) for part in parts)
            return Explained(text=text, holds=holds, how=how, parts=explained)
        case Not(inner):
            return Explained(text=text, holds=holds, how="not", parts=(_explained(inner, half, held, texts),))
    columns = [path.column for path in _paths(condition)]
    return Explained(
        text=text,
        holds=holds,
        values={column.name: _named(column, texts[column.physical]) for column in columns},
        note=note_on(condition, half, {column.name: texts[column.physical] for column in columns}),
    )


def _named(column: Any, text: str | None) -> str | None:
    """A choice or enum with its label beside the number."""
    if text is not None and column.labels and text.lstrip("-").isdigit() and int(text) in column.labels:
        return f"{text} ({column.labels[int(text)]})"
    return text


def _shown(row: Any) -> Shown:
    return Shown(row["id"], shown_key(row["key"]))
