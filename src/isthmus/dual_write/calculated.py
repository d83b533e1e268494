"""Rows of a table map whose value an expression works out of the source record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.dual_write.conversion import Converted, cut, dataverse_literal, finops_literal
from isthmus.dual_write.expression import compile_expression
from isthmus.dual_write.expression_syntax import names_in
from isthmus.dual_write.expression_types import Typed, ValueType, dataverse_names, finops_names
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check import Languages
from isthmus.metadata.check.mapped import Mapped, MappedRow
from isthmus.metadata.choice import Enum
from isthmus.metadata.entity import Entity, EntityField
from isthmus.metadata.table import Column, Table
from isthmus.metadata.table_map import FieldMapping
from isthmus.metadata.types import FIELD_NO_VALUE, FIELD_POSTGRES, ColumnType, FieldType
from isthmus.query.odata import parse_filter_syntax
from isthmus.query.quoting import quote_literal
from isthmus.query.ranges import parse_range_syntax

_WHOLE_RANGES = {"integer": (-(2**31), 2**31 - 1), "bigint": (-(2**63), 2**63 - 1)}
_TIMES = (ValueType.DATE, ValueType.DATE_TIME)


def fields_read(row: FieldMapping) -> tuple[str, ...]:
    """Names of the F&O fields that the row's value for Dataverse is made of."""
    if row.transform.to_dataverse is not None:
        return tuple(sorted(names_in(row.transform.to_dataverse)))
    return (row.finops,) if row.finops else ()


def columns_read(row: FieldMapping) -> tuple[str, ...]:
    """Names of the Dataverse columns that the row's expression for F&O reads; none when it has no expression."""
    return tuple(sorted(names_in(row.transform.to_finops))) if row.transform.to_finops is not None else ()


def reads_beside(row: FieldMapping) -> bool:
    """Whether the value for Dataverse is made of more than the row's own field, so that the way back can't tell it."""
    return row.finops is None or [name.lower() for name in fields_read(row)] != [row.finops.lower()]


def calculated_for_dataverse(
    row: FieldMapping, entity: Entity, alias: str, column: Column, enums: Mapping[str, Enum]
) -> Converted:
    """What `column` gets from the row's expression over the entity's record `alias`; Rejected when it does not fit."""
    value = compile_expression(row.transform.to_dataverse or "", finops_names(entity, alias), enums)
    sql, fault = _for_column(value, column, enums)
    if row.transform.truncate:
        sql = cut(sql, column.type.is_text, column.max_length)
    if row.transform.default is not None:
        sql = f"coalesce({sql}, {dataverse_literal(row.transform.default, column)})"
    return Converted(sql, fault, value.sql)


def calculated_for_finops(
    row: FieldMapping, table: Table, alias: str, field: EntityField, enums: Mapping[str, Enum]
) -> Converted:
    """What `field` gets from the row's expression over the table's row `alias`, never null."""
    value = compile_expression(row.transform.to_finops or "", dataverse_names(table, alias), enums)
    sql, fault = _for_field(value, field)
    if row.transform.truncate:
        sql = cut(sql, field.type is FieldType.STRING, field.max_length)
    default = row.transform.default
    nothing = FIELD_NO_VALUE[field.type] if default is None else finops_literal(default, field, enums)
    return Converted(f"coalesce({sql}, {nothing})", fault, value.sql)


def _for_column(value: Typed, column: Column, enums: Mapping[str, Enum]) -> tuple[str, str | None]:
    """SQL of the value as the column holds it, and of the condition that it has no place there."""
    if value.type is ValueType.TEXT and column.type.is_text:
        return f"nullif({value.sql}, '')", None
    if value.type is ValueType.ENUM and column.type.is_text and value.enum:
        whens = " ".join(f"when {m.value} then {quote_literal(m.symbol)}" for m in enums[value.enum].members)
        return f"case {value.sql} {whens} end", None
    if value.type is ValueType.ENUM and column.type is ColumnType.BOOLEAN:
        return f"({value.sql} <> 0)", None
    if value.type is ValueType.TRUTH and column.type is ColumnType.BOOLEAN:
        return value.sql, None
    if value.type is ValueType.GUID and column.type is ColumnType.UNIQUE_IDENTIFIER:
        return value.sql, None
    if value.type is ValueType.NUMBER and (column.type.is_number or column.type.is_choice):
        return _number(value, column.postgres, column.name)
    if value.type in _TIMES and column.type is ColumnType.DATE_TIME:
        return _time(value, is_date=column.is_date_only)
    raise _misfit(value, column.name, str(column.type))


def _for_field(value: Typed, field: EntityField) -> tuple[str, str | None]:
    if value.type is ValueType.TEXT and field.type is FieldType.STRING:
        return value.sql, None
    if value.type is ValueType.ENUM and field.type is FieldType.ENUM and value.enum == field.enum:
        return value.sql, None
    if value.type is ValueType.TRUTH and field.type is FieldType.BOOLEAN:
        return value.sql, None
    if value.type is ValueType.GUID and field.type is FieldType.GUID:
        return value.sql, None
    if value.type is ValueType.NUMBER and field.type in (
        FieldType.INT,
        FieldType.INT64,
        FieldType.REAL,
        FieldType.TIME,
    ):
        return _number(value, FIELD_POSTGRES[field.type], field.name)
    if value.type in _TIMES and field.type in (FieldType.DATE, FieldType.DATE_TIME):
        return _time(value, is_date=field.type is FieldType.DATE)
    raise _misfit(value, field.name, f"enum {field.enum}" if field.enum else str(field.type))


def _number(value: Typed, postgres: str, destination: str) -> tuple[str, str | None]:
    bounds = _WHOLE_RANGES.get(postgres)
    if bounds is None:
        return f"({value.sql})::{postgres}", None
    if not value.whole:
        raise _misfit(value, destination, "a whole number; round() gives one")
    within = f"{value.sql} between {bounds[0]} and {bounds[1]}"
    return f"case when {within} then ({value.sql})::{postgres} end", f"not ({within})"


def _time(value: Typed, *, is_date: bool) -> tuple[str, str | None]:
    """Dates are those that both halves can say: of the years 1 to 9999."""
    sql = value.sql
    if value.type is ValueType.DATE and not is_date:
        sql = f"({sql}::timestamp at time zone 'UTC')"
    elif value.type is ValueType.DATE_TIME and is_date:
        sql = f"({sql} at time zone 'UTC')::date"
    if not value.is_shifted:
        return sql, None
    within = f"{sql} between date '0001-01-02' and date '9999-12-31'"
    return f"case when {within} then {sql} end", f"not ({within})"


def _misfit(value: Typed, destination: str, holds: str) -> Rejected:
    return Rejected(
        f"The expression gives {value.shown}, and {destination} holds {holds}.",
        code="expression_type",
        field=destination,
    )


def expression_faults(catalog: Catalog, mapped: Mapped, row: MappedRow) -> Iterator[Rejected]:
    """What is wrong with the expressions of a row."""
    transform = row.mapping.transform
    try:
        if transform.to_dataverse is not None and row.path is not None:
            calculated_for_dataverse(row.mapping, mapped.entity, "v", row.path.leaf, catalog.enums)
        if transform.to_finops is not None and row.field is not None:
            calculated_for_finops(row.mapping, mapped.table, "t", row.field, catalog.enums)
    except Rejected as error:
        yield error


LANGUAGES = Languages(parse_range_syntax, parse_filter_syntax, expression_faults)
"""What the check of definitions reads filters and expressions with."""
