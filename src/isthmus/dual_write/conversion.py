"""How one value crosses from one half to the other, as SQL: transforms, types, and the two notions of "no value".

F&O knows no null: '', 0, 1900-01-01 and the zero GUID stand for it, according to type. Text, dates and GUIDs without a
value become null in Dataverse, and null becomes F&O's "no value" again; numbers cross as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from isthmus.errors import Rejected
from isthmus.metadata.choice import Enum
from isthmus.metadata.entity import EntityField
from isthmus.metadata.table import Column
from isthmus.metadata.table_map import FieldMapping
from isthmus.metadata.types import FIELD_NO_VALUE, FIELD_POSTGRES, ColumnType, FieldType
from isthmus.query.quoting import quote_literal

NULLABLE = (FieldType.STRING, FieldType.DATE, FieldType.DATE_TIME, FieldType.GUID)
"""Types whose "no value" means null on the Dataverse side."""

TRUE = frozenset({"true", "yes", "1"})
FALSE = frozenset({"false", "no", "0"})


class Converted(msgspec.Struct, frozen=True):
    """SQL of a converted value, and of a condition that holds when the value has no counterpart (None: never).

    `given` is SQL of the value that has none.
    """

    sql: str
    fault: str | None = None
    given: str = ""


def to_dataverse(
    row: FieldMapping, field: EntityField | None, value: str, column: Column, enums: Mapping[str, Enum]
) -> Converted:
    """Convert `value`, the SQL of an F&O field, to what `column` holds."""
    if field is None:
        return Converted(dataverse_literal(row.transform.fixed, column))
    default = row.transform.default
    if row.transform.value_map is not None:
        return _map_to_dataverse(row.transform.value_map, field, value, column, enums)
    known = f"nullif({value}, {FIELD_NO_VALUE[field.type]})" if field.type in NULLABLE else value
    converted = _cast_to_dataverse(known, field, column, enums)
    if row.transform.truncate:
        converted = cut(converted, column.type.is_text, column.max_length)
    if default is not None:
        converted = f"coalesce({converted}, {dataverse_literal(default, column)})"
    return Converted(converted)


def to_finops(
    row: FieldMapping, column: Column | None, value: str, field: EntityField, enums: Mapping[str, Enum]
) -> Converted:
    """Convert `value`, the SQL of a Dataverse column, to what the F&O field holds; never null."""
    if column is None:
        return Converted(finops_literal(row.transform.fixed, field, enums))
    default = row.transform.default
    nothing = FIELD_NO_VALUE[field.type] if default is None else finops_literal(default, field, enums)
    if row.transform.value_map is not None:
        return _map_to_finops(row.transform.value_map, column, value, field, nothing, enums)
    converted = _cast_to_finops(value, column, field, enums)
    if row.transform.truncate:
        converted = cut(converted, field.type is FieldType.STRING, field.max_length)
    return Converted(f"coalesce({converted}, {nothing})")


def cut(sql: str, is_text: bool, max_length: int | None) -> str:
    """A text, cut to the characters that its destination has room for; anything else as it is."""
    return f"left({sql}, {max_length})" if is_text and max_length is not None else sql


def dataverse_literal(text: str | None, column: Column) -> str:
    """A constant of a map as SQL of the column's type; blank text is null. Rejected when it is not of that type."""
    if text is None or (text == "" and not column.type.is_text):
        return f"null::{column.postgres}"
    if column.type is ColumnType.BOOLEAN:
        return _boolean(text, column.name)
    return f"{quote_literal(text)}::{column.postgres}"


def finops_literal(text: str | None, field: EntityField, enums: Mapping[str, Enum]) -> str:
    """A constant of a map as SQL of the F&O field's type; an enum's by symbol or number."""
    if text is None or text == "":
        return FIELD_NO_VALUE[field.type]
    if field.type is FieldType.ENUM:
        return str(_enum_value(text, field, enums))
    if field.type is FieldType.BOOLEAN:
        return _boolean(text, field.name)
    return f"{quote_literal(text)}::{FIELD_POSTGRES[field.type]}"


def canonical_text(value: str, column: Column) -> str:
    """Text of a key value that is the same wherever it is computed: what record locks and messages are made of."""
    if column.is_date_only:
        return f"to_char({value}, 'YYYY-MM-DD')"
    if column.type is ColumnType.DATE_TIME:
        return f"""to_char({value} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')"""
    if column.type.is_decimal:
        return f"trim_scale({value})::text"
    return f"lower({value}::text)"


def _map_to_dataverse(
    value_map: Mapping[str, str], field: EntityField, value: str, column: Column, enums: Mapping[str, Enum]
) -> Converted:
    whens, known = [], []
    for source, target in value_map.items():
        if _is_no_member(source, field, enums):
            continue
        literal = _match_finops(source, field, enums)
        known.append(literal)
        whens.append(f"when {literal} then {dataverse_literal(target, column)}")
    if not known:
        return Converted(f"null::{column.postgres}")
    subject = f"lower({value})" if field.type is FieldType.STRING else value
    nothing = "''" if field.type is FieldType.STRING else FIELD_NO_VALUE[field.type]
    sql = f"case {subject} {' '.join(whens)} end"
    return Converted(sql, f"{subject} not in ({', '.join([*known, nothing])})", value)


def _map_to_finops(
    value_map: Mapping[str, str],
    column: Column,
    value: str,
    field: EntityField,
    nothing: str,
    enums: Mapping[str, Enum],
) -> Converted:
    whens: list[str] = []
    known: list[str] = []
    for target, source in value_map.items():
        literal = f"lower({quote_literal(source)})" if column.type.is_text else dataverse_literal(source, column)
        if source == "" or literal in known or _is_no_member(target, field, enums):
            continue
        known.append(literal)
        whens.append(f"when {literal} then {finops_literal(target, field, enums)}")
    if not known:
        return Converted(nothing)
    subject = f"lower({value})" if column.type.is_text else value
    sql = f"case when {value} is null then {nothing} else case {subject} {' '.join(whens)} end end"
    return Converted(f"coalesce({sql}, {nothing})", f"{subject} not in ({', '.join(known)})", value)


def _is_no_member(text: str, field: EntityField, enums: Mapping[str, Enum]) -> bool:
    """Whether a value map names an enum member that does not exist (two entries of the published maps do).

    Such an entry can never match a value of F&O's, and what Dataverse holds for it has no counterpart there.
    """
    if field.type is not FieldType.ENUM or not field.enum or text == "" or text.lstrip("-").isdigit():
        return False
    return enums[field.enum].value_of(text) is None


def _match_finops(text: str, field: EntityField, enums: Mapping[str, Enum]) -> str:
    """SQL that an F&O value named in a value map is compared with."""
    if field.type is FieldType.STRING:
        return f"lower({quote_literal(text)})"
    if field.type in (FieldType.DATE, FieldType.DATE_TIME) and "/" in text:
        month, day, year = text.split("/")
        text = f"{int(year):04}-{int(month):02}-{int(day):02}"
    return finops_literal(text, field, enums)


def _cast_to_dataverse(value: str, field: EntityField, column: Column, enums: Mapping[str, Enum]) -> str:
    if field.type is FieldType.ENUM:
        if column.type is ColumnType.BOOLEAN:
            return f"({value} <> 0)"
        if column.type.is_text and field.enum:
            whens = " ".join(f"when {m.value} then {quote_literal(m.symbol)}" for m in enums[field.enum].members)
            return f"case {value} {whens} end" if whens else f"{value}::text"
    if field.type is FieldType.DATE_TIME and column.is_date_only:
        return f"({value} at time zone 'UTC')::date"
    if field.type is FieldType.DATE and column.type is ColumnType.DATE_TIME and not column.is_date_only:
        return f"({value}::timestamp at time zone 'UTC')"
    if field.type is FieldType.BOOLEAN and column.type.is_choice:
        return f"({value})::integer"
    if FIELD_POSTGRES[field.type] == column.postgres:
        return value
    return f"({value})::{column.postgres}"


def _cast_to_finops(value: str, column: Column, field: EntityField, enums: Mapping[str, Enum]) -> str:
    if field.type is FieldType.ENUM:
        if column.type is ColumnType.BOOLEAN:
            return f"({value})::integer"
        if column.type.is_text and field.enum:
            whens = " ".join(f"when lower({quote_literal(m.symbol)}) then {m.value}" for m in enums[field.enum].members)
            return f"case lower({value}) {whens} end" if whens else f"nullif({value}, '')::integer"
    if column.is_date_only and field.type is FieldType.DATE_TIME:
        return f"({value}::timestamp at time zone 'UTC')"
    if column.type is ColumnType.DATE_TIME and not column.is_date_only and field.type is FieldType.DATE:
        return f"({value} at time zone 'UTC')::date"
    if column.type is ColumnType.DATE_TIME and field.type is FieldType.TIME:
        return f"extract(epoch from ({value} at time zone 'UTC')::time)::integer"
    if column.postgres == FIELD_POSTGRES[field.type]:
        return value
    return f"({value})::{FIELD_POSTGRES[field.type]}"


def _enum_value(text: str, field: EntityField, enums: Mapping[str, Enum]) -> int:
    found = enums[field.enum].value_of(text) if field.enum and field.enum in enums else None
    if found is None:
        if text.lstrip("-").isdigit():
            return int(text)
        raise Rejected(
            f"'{text}' is not a member of the enum {field.enum} of field {field.name}.",
            code="enum_member_unknown",
            field=field.name,
        )
    return found


def _boolean(text: str, name: str) -> str:
    if text.lower() in TRUE:
        return "true"
    if text.lower() in FALSE:
        return "false"
    raise Rejected(
        f"'{text}' is neither true nor false, which is what '{name}' holds.", code="type_mismatch", field=name
    )
