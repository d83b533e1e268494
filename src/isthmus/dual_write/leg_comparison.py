"""Compiles a table map for comparison: the statements that read both halves (see comparison)."""

from __future__ import annotations

from functools import partial

import msgspec

from isthmus.apps.principal import Half
from isthmus.dataverse.schema import sql_name
from isthmus.dual_write.calculated import fields_read
from isthmus.dual_write.comparison import FAULT, Compared, Comparison, Side
from isthmus.dual_write.filters import dataverse_filter, finops_filter
from isthmus.dual_write.leg_sql import entity_rows, key_rows
from isthmus.dual_write.leg_to_dataverse import key_from_finops, values_to_dataverse
from isthmus.dual_write.leg_to_finops import (
    LookupJoins,
    company_code,
    key_from_dataverse,
    rows_to_finops,
    values_to_finops,
)
from isthmus.finops.data_sources import DataSources
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity, EntityField
from isthmus.metadata.map_path import resolve_path
from isthmus.metadata.table import Column, Table
from isthmus.metadata.table_map import TableMap
from isthmus.metadata.types import ColumnType, FieldType
from isthmus.query.quoting import quote_identifier

BUCKETS = 4096
"""Parts that the keys of a map are divided into; a part whose checksums are equal is not looked at again."""

NULLED = (FieldType.INT, FieldType.INT64, FieldType.REAL, FieldType.ENUM, FieldType.BOOLEAN)
"""F&O's types whose "no value" is sent as a value: Dataverse may hold null or 0 for one and the same."""


class _Texts(msgspec.Struct):
    """SQL of what one half shows of a record; `forward` and `backward` are by number of the field mapping."""

    source: str
    identity: str
    company: str
    key: str
    passes: str
    takes_part: str
    forward: dict[int, str]
    backward: dict[int, str]
    faults: list[str]


def compile_comparison(
    table_map: TableMap, catalog: Catalog, sources: DataSources, direction: Half | None = None
) -> Comparison:
    """Compile a map for comparison.

    The checksums of a record cover all values of the leg out of `direction`; without one, each field mapping that is
    no constant in the direction that says more, so that equal checksums mean that the halves agree.
    """
    entity, table = catalog.entity(table_map.entity), catalog.table(table_map.table)
    compared = _compared(table_map, entity, table, catalog)
    finops = _finops_texts(table_map, compared, entity, catalog, sources)
    dataverse = _dataverse_texts(table_map, compared, table, catalog)
    sends: set[Half] = set()
    if any(one.sends_forward for one in compared):
        sends.add("finops")
    if any(one.sends_backward for one in compared):
        sends.add("dataverse")
    hashed = [
        (number, forward, one.by_name)
        for number, one in enumerate(compared)
        if (forward := _is_hashed_forward(one, direction)) is not None
    ]
    return Comparison(
        table_map=table_map,
        compared=compared,
        sends=frozenset(sends),
        sides={
            "finops": _side(finops, hashed, "bigint", len(compared)),
            "dataverse": _side(dataverse, hashed, "uuid", len(compared)),
        },
    )


def _compared(table_map: TableMap, entity: Entity, table: Table, catalog: Catalog) -> tuple[Compared, ...]:
    to_finops = {id(row) for row, _ in rows_to_finops(table_map, table, catalog)}
    return tuple(
        Compared(
            mapping=row,
            field=entity.field[row.finops.lower()] if row.finops else None,
            path=resolve_path(row.dataverse, table, catalog) if row.dataverse else None,
            forward=row.to_dataverse and row.dataverse is not None,
            backward=id(row) in to_finops,
        )
        for row in table_map.rows
    )


def _is_hashed_forward(one: Compared, direction: Half | None) -> bool | None:
    """Whether the checksum covers the forward text (True), the backward text (False), or neither (None)."""
    if direction is not None:
        covered = one.forward if direction == "finops" else one.backward
        return direction == "finops" if covered else None
    if one.sends_forward and one.sends_backward:
        return _says_more_forward(one)
    return one.sends_forward or (None if not one.sends_backward else False)


def _says_more_forward(one: Compared) -> bool:
    """Whether the value in Dataverse's terms agrees wherever the halves do; F&O's terms often do, for null is 0 there.

    Equal checksums are right either way: this only keeps records that agree from being looked at in detail.
    """
    transform = one.mapping.transform
    if transform.value_map is not None:
        targets = list(transform.value_map.values())
        return len(set(targets)) < len(targets)
    return one.field is None or one.field.type not in NULLED or not transform.is_plain


def _finops_texts(
    table_map: TableMap, compared: tuple[Compared, ...], entity: Entity, catalog: Catalog, sources: DataSources
) -> _Texts:
    passes = finops_filter(table_map, entity, catalog, "v")
    keys = [row.finops for _, row in key_rows(table_map, catalog) if row and row.finops]
    read = [name for one in compared if one.forward for name in fields_read(one.mapping)]
    shown = [one.field.column for one in compared if one.field is not None]
    forward: dict[int, str] = {}
    faults: list[str] = []
    given = _given_lookups(compared, entity, catalog)
    for number, one in enumerate(compared):
        if not one.forward or one.path is None:
            continue
        (value,), found = _forward_value(one, entity, catalog)
        text = _column_text(value, one.path.leaf)
        if one.by_name:
            text = f"case when {given[one.path.head.name]} then {text} end"
        for fault in found:
            text = _or_fault(fault, text)
        faults += found
        forward[number] = text
    backward = {
        number: _field_text(f"v.{quote_identifier(one.field.column)}", one.field)
        for number, one in enumerate(compared)
        if one.field is not None
    }
    company = "lower(v.dataareaid)" if entity.company_specific else "null::text"
    return _Texts(
        source=f"({entity_rows(sources, [*read, *shown, *keys, *passes.fields])}) v",
        identity="v.recid",
        company=company,
        key=key_from_finops(table_map, entity, catalog),
        passes=passes.sql,
        takes_part=passes.sql if any(one.sends_forward for one in compared) else "true",
        forward=forward,
        backward=backward,
        faults=faults,
    )


def _dataverse_texts(table_map: TableMap, compared: tuple[Compared, ...], table: Table, catalog: Catalog) -> _Texts:
    passes = dataverse_filter(table_map, table, catalog, "t")
    joins = LookupJoins(table)
    company = company_code(table, catalog, joins)
    entity = catalog.entity(table_map.entity)
    forward = {
        number: _column_text(joins.value(one.path), one.path.leaf)
        for number, one in enumerate(compared)
        if one.path is not None
    }
    backward: dict[int, str] = {}
    faults: list[str] = []
    for field in {one.field.column: one.field for one in compared if one.backward and one.field}.values():
        numbers = [n for n, one in enumerate(compared) if one.backward and one.field is field]
        rows = [(compared[n].mapping, compared[n].path) for n in numbers]
        values, found = values_to_finops(rows, entity, catalog, joins)
        text = _field_text(values[field.column], field)
        for fault in found:
            text = _or_fault(fault, text)
        faults += found
        backward.update(dict.fromkeys(numbers, text))
    key = key_from_dataverse(table_map, catalog, joins, company)
    takes_part = f"({passes.sql})" + (f" and {company} is not null" if table.company_column else "")
    sends = any(one.sends_backward for one in compared)
    return _Texts(
        source=f"{sql_name(table)} t{joins.sql}",
        identity=f"t.{quote_identifier(table.primary_id)}",
        company=company,
        key=key,
        passes=takes_part,
        takes_part=takes_part if sends else "true",
        forward=forward,
        backward=backward,
        faults=faults,
    )


def _forward_value(one: Compared, entity: Entity, catalog: Catalog) -> tuple[list[str], list[str]]:
    """SQL of what the leg to Dataverse makes of a record for this field mapping, and of its faults."""
    assert one.path is not None
    values, faults = values_to_dataverse([(one.mapping, one.path)], entity, catalog)
    return list(values.values()), faults


def _given_lookups(compared: tuple[Compared, ...], entity: Entity, catalog: Catalog) -> dict[str, str]:
    """For each lookup, SQL that holds when every part of its natural key has a value: otherwise it is empty."""
    parts: dict[str, list[str]] = {}
    for one in compared:
        if one.forward and one.by_name and one.path is not None:
            (value,), _ = _forward_value(one, entity, catalog)
            is_number = one.path.leaf.type.is_number
            parts.setdefault(one.path.head.name, []).append(f"{value} <> 0" if is_number else f"{value} is not null")
    return {head: " and ".join(conditions) for head, conditions in parts.items()}


def _side(texts: _Texts, hashed: list[tuple[int, bool, bool]], id_type: str, count: int) -> Side:
    parts = [f"coalesce({texts.key}, '')", f"coalesce({texts.company}, '')"]
    for number, forward, by_name in hashed:
        text = (texts.forward if forward else texts.backward)[number]
        parts.append(f"coalesce({f'lower({text})' if by_name else text}, '')")
    checksum = f"hashtextextended({' || chr(30) || '.join(parts)}, 0)"
    bucket = f"hashtextextended(coalesce({texts.key}, ''), 0) & {BUCKETS - 1}"
    refused = " or ".join(f"({fault}) is not null" for fault in texts.faults) or "false"
    companies = f"($1::text[] is null or {texts.company} is null or {texts.company} = any($1))"
    inner = partial(_query, source=texts.source, where=companies)
    return Side(
        totals=(
            "select company, bucket, count(*)::bigint as records, sum(checksum)::text as checksum from ("
            + inner({"company": texts.company, "bucket": bucket, "checksum": checksum, "part": texts.takes_part})
            + ") x where part group by grouping sets ((bucket), (company))"
        ),
        records=(
            "select * from ("
            + inner(
                {
                    "key": texts.key,
                    "company": texts.company,
                    "id": texts.identity,
                    "passes": f"coalesce({texts.passes}, false)",
                    "takes_part": f"coalesce({texts.takes_part}, false)",
                    "refused": refused,
                    "checksum": checksum,
                    "bucket": bucket,
                }
            )
            + ') x where bucket = any($2::bigint[]) order by key collate "C" nulls last, takes_part desc, id'
        ),
        details=_query(
            {
                "id": texts.identity,
                "company": texts.company,
                "key": texts.key,
                "passes": f"coalesce({texts.passes}, false)",
                "forward": _array(texts.forward, count),
                "backward": _array(texts.backward, count),
            },
            source=texts.source,
            where=f"{texts.identity} = any($1::{id_type}[])",
        ),
    )


def _query(columns: dict[str, str], *, source: str, where: str) -> str:
    selected = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
    return f"select {selected} from {source} where {where}"


def _array(texts: dict[int, str], count: int) -> str:
    return f"array[{', '.join(texts.get(number, 'null') for number in range(count))}]::text[]"


def _or_fault(fault: str, text: str) -> str:
    return f"coalesce(chr({ord(FAULT)}) || ({fault}), {text})"


def _column_text(value: str, column: Column) -> str:
    """Text of a Dataverse value; the same wherever it is worked out."""
    if column.type.is_text:
        return f"nullif({value}, '')"
    if column.type.is_decimal:
        return f"trim_scale(({value})::numeric)::text"
    if column.is_date_only:
        return f"to_char({value}, 'YYYY-MM-DD')"
    if column.type is ColumnType.DATE_TIME:
        return _moment(value)
    return f"({value})::text"


def _field_text(value: str, field: EntityField) -> str:
    """Text of an F&O value; the same wherever it is worked out."""
    if field.type is FieldType.REAL:
        return f"trim_scale(({value})::numeric)::text"
    if field.type is FieldType.DATE:
        return f"to_char({value}, 'YYYY-MM-DD')"
    if field.type is FieldType.DATE_TIME:
        return _moment(value)
    return f"({value})::text"


def _moment(value: str) -> str:
    return f"""to_char({value} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')"""
