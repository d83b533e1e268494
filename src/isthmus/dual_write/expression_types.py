"""What the parts of an expression are: typed SQL; and the fields and columns of a source record as such."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from isthmus.errors import Rejected
from isthmus.metadata.entity import Entity
from isthmus.metadata.table import Column, Table
from isthmus.metadata.types import FIELD_NO_VALUE, ColumnType, FieldType
from isthmus.query.quoting import quote_identifier


class ValueType(StrEnum):
    """What a part of an expression gives, in the words of its messages."""

    TEXT = "text"
    NUMBER = "number"
    TRUTH = "true or false"
    DATE = "date"
    DATE_TIME = "date and time"
    ENUM = "enum"
    GUID = "GUID"


class Typed(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an expression as SQL.

    `whole`: the number has no decimals. `enum`: the enum that the value is a member of. `growth`: how many times longer
    than the source's longest text the result may be. `literal`: the text of a constant. `is_shifted`: days were added
    to the date.
    """

    sql: str
    type: ValueType
    whole: bool = False
    enum: str | None = None
    growth: int = 1
    literal: str | None = None
    is_shifted: bool = False

    @property
    def shown(self) -> str:
        """The type, for messages."""
        if self.type is ValueType.NUMBER and self.whole:
            return "whole number"
        return f"enum {self.enum}" if self.enum else str(self.type)


_FIELDS: dict[FieldType, tuple[ValueType, bool]] = {
    FieldType.STRING: (ValueType.TEXT, False),
    FieldType.INT: (ValueType.NUMBER, True),
    FieldType.INT64: (ValueType.NUMBER, True),
    FieldType.REAL: (ValueType.NUMBER, False),
    FieldType.TIME: (ValueType.NUMBER, True),
    FieldType.DATE: (ValueType.DATE, False),
    FieldType.DATE_TIME: (ValueType.DATE_TIME, False),
    FieldType.ENUM: (ValueType.ENUM, False),
    FieldType.GUID: (ValueType.GUID, False),
    FieldType.BOOLEAN: (ValueType.TRUTH, False),
}


def finops_names(entity: Entity, alias: str) -> dict[str, Typed]:
    """What an expression towards Dataverse can read: the fields of the entity, by lower-case name."""
    found = {}
    for name, field in entity.field.items():
        if field.type not in _FIELDS or (field.type is FieldType.ENUM and not field.enum):
            continue
        type_, whole = _FIELDS[field.type]
        sql = f"{alias}.{quote_identifier(field.column)}"
        if type_ is ValueType.NUMBER:
            sql = f"{sql}::numeric"
        elif type_ in (ValueType.DATE, ValueType.DATE_TIME, ValueType.GUID):
            sql = f"nullif({sql}, {FIELD_NO_VALUE[field.type]})"
        found[name] = Typed(sql=sql, type=type_, whole=whole, enum=field.enum)
    return found


def dataverse_names(table: Table, alias: str) -> dict[str, Typed]:
    """What an expression towards F&O can read: the table's own columns, lookups not among them."""
    found = {}
    for column in table.columns:
        type_ = _type_of_column(column)
        if type_ is None:
            continue
        sql = f"{alias}.{quote_identifier(column.name)}"
        if type_ is ValueType.NUMBER:
            sql = f"{sql}::numeric"
        whole = column.type.is_choice or column.type in (ColumnType.INTEGER, ColumnType.BIG_INT)
        found[column.name] = Typed(sql=sql, type=type_, whole=whole)
    return found


def _type_of_column(column: Column) -> ValueType | None:
    if column.type.is_text:
        return ValueType.TEXT
    if column.type.is_number or column.type.is_choice:
        return ValueType.NUMBER
    if column.is_date_only:
        return ValueType.DATE
    return {
        ColumnType.BOOLEAN: ValueType.TRUTH,
        ColumnType.DATE_TIME: ValueType.DATE_TIME,
        ColumnType.UNIQUE_IDENTIFIER: ValueType.GUID,
    }.get(column.type)


def type_error(message: str, position: int) -> Rejected:
    """A part that gives another type than is needed there."""
    return Rejected(f"{message}, at position {position}.", code="expression_type", position=position)


def empty_if_missing(part: Typed) -> str:
    """SQL of a text in which no value is empty text."""
    return part.sql if part.literal is not None else f"coalesce({part.sql}, '')"


def join(parts: Sequence[Typed]) -> Typed:
    """Texts one after the other."""
    sql = " || ".join(empty_if_missing(part) for part in parts)
    return Typed(sql=f"({sql})", type=ValueType.TEXT, growth=sum(part.growth for part in parts))
