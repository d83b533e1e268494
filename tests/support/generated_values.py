"""Values that a mapped field can hold on both halves: types, lengths, bounds, decimals and value maps of both ends."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import msgspec
from tests.support.choices import Choices
from tests.support.oracle import NOTHING, Path

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity, EntityField
from isthmus.metadata.table import Column
from isthmus.metadata.types import ColumnType, FieldType

FIRST_DAY = date(2000, 1, 1)

_NAMESPACE = UUID("6f0c2a52-6a0e-4f0e-9f6e-2f1d0f3f7b11")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_KEY_ENDINGS = ("", "", "a", "-é", "'", "ß", " x", "%_", "&/")
_LONGEST = 2000
_DECIMALS = 6


class Domain(msgspec.Struct):
    """What all maps allow in one physical field of F&O: it may be shown by several entities."""

    columns: list[Column] = []
    max_lengths: list[int] = []
    value_maps: list[Mapping[str, str]] = []


def physical(entity: Entity, field: EntityField) -> tuple[str, str]:
    """Table and column behind a field."""
    return entity.source[field.source].table, field.field.lower()


def domains(catalog: Catalog) -> dict[tuple[str, str], Domain]:
    """Domains by (F&O table, physical column), of all mapped fields."""
    found: dict[tuple[str, str], Domain] = {}
    for table_map in catalog.table_maps.values():
        entity, table = catalog.entities[table_map.entity], catalog.tables[table_map.table]
        for row in table_map.rows:
            if row.finops and row.dataverse:
                field = entity.field[row.finops.lower()]
                domain = found.setdefault(physical(entity, field), Domain())
                column = Path(row.dataverse).leaf(table, catalog)
                domain.columns.append(column)
                domain.max_lengths += [n for n in (field.max_length, column.max_length) if n is not None]
                if row.transform.value_map is not None:
                    domain.value_maps.append(row.transform.value_map)
    return found


class Generator:
    """Makes values; `numbers` make those of keys unique."""

    def __init__(self, catalog: Catalog, numbers: Iterator[int]) -> None:
        self.catalog = catalog
        self.domains = domains(catalog)
        self._numbers = numbers

    def value(self, choices: Choices, entity: Entity, field: EntityField) -> Any:
        """Any value, "no value" among them, that all maps of the field can carry."""
        domain = self.domains[physical(entity, field)]
        if domain.value_maps:
            return choices.one_of(self.known(entity, field))
        if field.type is FieldType.STRING:
            return choices.text(self.longest(entity, field))
        if field.type is FieldType.ENUM:
            return choices.one_of([member.value for member in self.catalog.enums[field.enum or ""].members])
        if field.type is FieldType.BOOLEAN:
            return choices.one_of([False, True])
        if field.type is FieldType.GUID:
            return choices.one_of([UUID(int=0), self.guid()])
        if field.type is FieldType.DATE:
            return choices.one_of([NOTHING[FieldType.DATE], _day(choices)])
        if field.type is FieldType.DATE_TIME:
            return choices.one_of([NOTHING[FieldType.DATE_TIME], _instant(choices, _day(choices), domain.columns)])
        return _number(choices, field, domain.columns)

    def key(self, choices: Choices, entity: Entity, field: EntityField) -> Any:
        """A value that no other record has, where the type leaves room for one."""
        number = next(self._numbers)
        if field.type is FieldType.STRING:
            longest = self.longest(entity, field)
            text = in_digits(number)
            return f"K{text}{choices.one_of(_KEY_ENDINGS)}"[:longest] if longest > 8 else text[:longest]
        if field.type is FieldType.ENUM:
            return choices.one_of(self.known(entity, field))
        if field.type is FieldType.GUID:
            return self.guid()
        day = FIRST_DAY + timedelta(days=number)
        if field.type is FieldType.DATE:
            return day
        if field.type is FieldType.DATE_TIME:
            return _instant(choices, day, self.domains[physical(entity, field)].columns)
        return Decimal(number) if field.type is FieldType.REAL else number

    def known(self, entity: Entity, field: EntityField) -> list[Any]:
        """The values of a field that every value map on it knows; all members of an enum without one."""
        members = self.catalog.enums[field.enum].members if field.enum else ()
        found = [self.of_map(field, value_map) for value_map in self.domains[physical(entity, field)].value_maps]
        if not found:
            return [member.value for member in members]
        return [value for value in found[0] if all(value in others for others in found)]

    def of_map(self, field: EntityField, value_map: Mapping[str, str]) -> list[Any]:
        """The values of a field that a value map knows; an entry that names no member of the enum is none."""
        if field.type is FieldType.BOOLEAN:
            return [symbol.lower() in ("true", "yes") for symbol in value_map]
        if field.type is not FieldType.ENUM:
            return list(value_map)
        enum = self.catalog.enums[field.enum or ""]
        return [value for symbol in value_map if (value := enum.value_of(symbol)) is not None]

    def longest(self, entity: Entity, field: EntityField) -> int:
        """Characters that fit everywhere the field is shown."""
        return min([*self.domains[physical(entity, field)].max_lengths, _LONGEST])

    def guid(self) -> UUID:
        """A GUID that no other record has."""
        return uuid5(_NAMESPACE, str(next(self._numbers)))

    def short_text(self) -> str:
        """A text that no other record has."""
        return in_digits(next(self._numbers))


def in_digits(number: int) -> str:
    """A number in as few letters and digits as possible."""
    text = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text


def _day(choices: Choices) -> date:
    return choices.one_of([date(1900, 1, 2), date(2154, 12, 31), FIRST_DAY + timedelta(choices.whole(0, 20_000))])


def _instant(choices: Choices, day: date, columns: Collection[Column]) -> datetime:
    """An instant of a day; its beginning, when a column holds days only."""
    instant = datetime.combine(day, time(), UTC)
    if any(column.is_date_only for column in columns):
        return instant
    return instant + timedelta(seconds=choices.whole(0, 86_399))


def _number(choices: Choices, field: EntityField, columns: Sequence[Column]) -> Any:
    low, high = _bounds(field, columns)
    least = max(low, 0)
    if field.type is not FieldType.REAL:
        return choices.one_of([least, low, high, choices.whole(low, high)])
    decimals = min([_decimals(column) for column in columns])
    number = choices.whole(max(low, -(10**9)) * 10**decimals, min(high, 10**9) * 10**decimals)
    return choices.one_of([Decimal(least), Decimal(number).scaleb(-decimals)])


def _decimals(column: Column) -> int:
    default = 4 if column.type is ColumnType.MONEY else 10
    return min(column.precision if column.precision is not None else default, _DECIMALS)


def _bounds(field: EntityField, columns: Collection[Column]) -> tuple[int, int]:
    """The whole numbers that all can hold."""
    bits = {FieldType.INT: 31, FieldType.INT64: 63}.get(field.type, 40)
    low, high = (0, 86_399) if field.type is FieldType.TIME else (-(2**bits), 2**bits - 1)
    for column in columns:
        if column.type is ColumnType.INTEGER:
            low, high = max(low, -(2**31)), min(high, 2**31 - 1)
        if column.min is not None:
            low = max(low, int(column.min) if column.min == int(column.min) else int(column.min) + 1)
        if column.max is not None:
            high = min(high, int(column.max))
    return low, high
