"""What the counterpart of a record must hold, worked out from the definition files alone.

A second, plain reading of the mapping rules: no SQL is compiled and nothing of isthmus.dual_write is used, so that a
fault there shows as a difference. Text that names another row compares without regard to case, as both halves do; all
other text must be the same.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
from tests.support.map_filters import holds

from isthmus.finops.schema import view_name
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import EntityField
from isthmus.metadata.table import Column, Table
from isthmus.metadata.table_map import FieldMapping, TableMap
from isthmus.metadata.types import ColumnType, FieldType

Values = dict[str, Any]

NOTHING: dict[FieldType, Any] = {
    FieldType.STRING: "",
    FieldType.INT: 0,
    FieldType.INT64: 0,
    FieldType.REAL: Decimal(0),
    FieldType.DATE: date(1900, 1, 1),
    FieldType.DATE_TIME: datetime(1900, 1, 1, tzinfo=UTC),
    FieldType.ENUM: 0,
    FieldType.GUID: UUID(int=0),
    FieldType.BOOLEAN: False,
    FieldType.TIME: 0,
}
"""F&O's "no value"."""

BECOMES_NULL = (FieldType.STRING, FieldType.DATE, FieldType.DATE_TIME, FieldType.GUID)
"""Types whose "no value" is null in Dataverse; a number that is 0 is 0 there."""


class NoCounterpart(Exception):
    """A value that the value map of its row does not know."""


class Path:
    """The Dataverse side of a row, taken apart: `segments` of a dotted path, or the (table, column) pairs to try."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.alternatives = [(t.lower(), c.lower()) for t, c in re.findall(r"(\w+)\((\w+)\)", text)]
        self.segments = [text.split(".")[0].lower()] if self.alternatives else text.lower().split(".")

    @property
    def head(self) -> str:
        return self.segments[0]

    @property
    def is_lookup(self) -> bool:
        return len(self.segments) > 1 or bool(self.alternatives)

    def leaf(self, table: Table, catalog: Catalog) -> Column:
        """The column at the end of the path."""
        if self.alternatives:
            target, name = self.alternatives[0]
            return catalog.tables[target].column[name]
        here = table
        for segment, following in zip(self.segments, self.segments[1:], strict=False):
            here = next(
                catalog.tables[target]
                for target in here.column[segment].targets
                if target in catalog.tables and following in catalog.tables[target].column
            )
        return here.column[self.segments[-1]]


class Oracle:
    """Reads both halves by simple queries and says what each must hold given the other."""

    def __init__(self, catalog: Catalog, dataverse: asyncpg.Pool, finops: asyncpg.Pool) -> None:
        self.catalog = catalog
        self._dataverse = dataverse
        self._finops = finops

    async def finops_row(self, table_map: TableMap, recid: int) -> Values | None:
        """A record as its entity shows it."""
        found = await self._finops.fetchrow(f"select * from {self._view(table_map)} where recid = $1", recid)
        return dict(found) if found else None

    async def finops_rows(self, table_map: TableMap) -> list[Values]:
        """All records of the map's entity."""
        return [dict(found) for found in await self._finops.fetch(f"select * from {self._view(table_map)}")]

    async def dataverse_row(self, table: str, row_id: UUID) -> Values | None:
        """A row as it is stored."""
        key = self.catalog.tables[table].primary_id
        found = await self._dataverse.fetchrow(f'select * from dataverse."{table}" where "{key}" = $1', row_id)
        return dict(found) if found else None

    def takes_part_from_finops(self, table_map: TableMap, record: Values) -> bool:
        """Whether a record passes the map's F&O filter."""
        fields = self.catalog.entities[table_map.entity].field
        symbols = {
            name: self._symbol(fields[name], record[name])
            for name in record
            if name in fields and fields[name].type is FieldType.ENUM
        }
        return holds(table_map.finops_filter, record, symbols)

    def takes_part_from_dataverse(self, table_map: TableMap, row: Values) -> bool:
        """Whether a row passes the map's Dataverse filter and, in a company-specific table, has a company."""
        company = self.catalog.tables[table_map.table].company_column
        return (company is None or row[company] is not None) and holds(table_map.dataverse_filter, row, {})

    async def counterparts_in_dataverse(self, table_map: TableMap, record: Values) -> list[Values]:
        """All rows that the integration key of a record names; a sound half has one at most."""
        table = self.catalog.tables[table_map.table]
        wanted: dict[str, Any] = {}
        for text in table_map.integration_key:
            row = _row_of(table_map, text)
            value = record.get("dataareaid") if row is None else self.to_dataverse(table_map, row, record)
            wanted[text] = _folded(value)
            if wanted[text] is None:
                return []
        plain = [Path(text) for text in wanted if not Path(text).is_lookup]
        conditions = " and ".join(_equals(table.column[path.head], n) for n, path in enumerate(plain, 1)) or "true"
        rows = await self._dataverse.fetch(
            f'select * from dataverse."{table.logical_name}" where {conditions}',
            *(wanted[path.text] for path in plain),
        )
        found = []
        for row in map(dict, rows):
            standing = {text: _folded(await self.follow(table, row, Path(text))) for text in wanted}
            if standing == wanted:
                found.append(row)
        return found

    async def counterparts_in_finops(self, table_map: TableMap, row: Values) -> list[Values]:
        """All records that the integration key of a row names."""
        table, entity = self.catalog.tables[table_map.table], self.catalog.entities[table_map.entity]
        conditions, values = ["true"], []
        for text in table_map.integration_key:
            mapping = _row_of(table_map, text)
            if mapping is None:
                continue
            field = entity.field[(mapping.finops or "").lower()]
            value = await self.to_finops(table_map, mapping, row)
            if await self.follow(table, row, Path(text)) is None:
                return []
            values.append(value)
            name = f'"{field.column}"'
            conditions.append(
                f"lower({name}) = lower(${len(values)})"
                if field.type is FieldType.STRING
                else f"{name} = ${len(values)}"
            )
        if entity.company_specific:
            code = await self.company(table, row)
            if code is None:
                return []
            values.append(code.lower())
            conditions.append(f"dataareaid = ${len(values)}")
        rows = await self._finops.fetch(
            f"select * from {self._view(table_map)} where {' and '.join(conditions)}", *values
        )
        return [dict(record) for record in rows]

    async def company(self, table: Table, row: Values) -> str | None:
        """The code of the company of a row."""
        if table.company_column is None or row[table.company_column] is None:
            return None
        code: str | None = await self._dataverse.fetchval(
            "select cdm_companycode from dataverse.cdm_company where cdm_companyid = $1", row[table.company_column]
        )
        return code

    async def follow(self, table: Table, row: Values, path: Path) -> Any:
        """The value a path leads to; None where a lookup on the way is empty."""
        here, value = table, row
        if path.alternatives:
            target, row_id = value[f"{path.head}type"], value[path.head]
            column = dict(path.alternatives).get(target)
            if row_id is None or column is None:
                return None
            return (await self.dataverse_row(target, row_id) or {})[column]
        for segment, following in zip(path.segments, path.segments[1:], strict=False):
            column, row_id = here.column[segment], value[segment]
            if row_id is None:
                return None
            targets = [value[column.type_column]] if column.is_polymorphic else list(column.targets)
            target = next((t for t in targets if following in self.catalog.tables[t].column), None)
            if target is None:
                return None
            here = self.catalog.tables[target]
            value = await self.dataverse_row(target, row_id) or {}
        return value[path.segments[-1]]

    async def differences(
        self,
        table_map: TableMap,
        record: Values,
        row: Values,
        *,
        origin: str,
        sent: frozenset[str] | None,
    ) -> list[str]:
        """Where the two are not equal under the map.

        `sent` are the F&O fields that the last change on `origin` gave (None: all of them): their values must have
        crossed in that direction. Any other pair must agree in a direction of its row. A constant stands where the last
        record came from the half that the row begins on.
        """
        table, found = self.catalog.tables[table_map.table], []
        for mapping in table_map.rows:
            path = Path(mapping.dataverse) if mapping.dataverse else None
            name = (mapping.finops or "").lower()
            stands = await self.follow(table, row, path) if path else None
            wrong: dict[str, str] = {}
            if mapping.to_dataverse and path:
                expected = self.to_dataverse(table_map, mapping, record)
                if not _same(expected, stands, by_name=path.is_lookup):
                    wrong["finops"] = f"{path.text} holds {stands!r}, expected {expected!r}"
            backward = goes_to_finops(table_map, mapping)
            if backward and name:
                expected = await self._to_finops_first(table_map, name, row)
                if not _same(expected, record[name], by_name=path is not None and path.is_lookup):
                    wrong["dataverse"] = f"{mapping.finops} holds {record[name]!r}, expected {expected!r}"
            directions = {half for half, goes in (("finops", mapping.to_dataverse), ("dataverse", backward)) if goes}
            if origin in directions and (sent is None or name in sent):
                directions = {origin}
            elif not name or path is None:
                continue
            if directions <= wrong.keys():
                label = f"row {mapping.row} [{mapping.finops or ''} {mapping.arrow} {mapping.dataverse or ''}]"
                found.append(f"{label}: {wrong[sorted(directions)[0]]}")
        return found

    def to_dataverse(self, table_map: TableMap, mapping: FieldMapping, record: Values) -> Any:
        """What the Dataverse end of a row holds for a record. NoCounterpart when its value map has no entry."""
        column = Path(mapping.dataverse or "").leaf(self.catalog.tables[table_map.table], self.catalog)
        default = mapping.transform.default
        if not mapping.finops:
            return _column_constant(column, default)
        field = self.catalog.entities[table_map.entity].field[mapping.finops.lower()]
        value = record[field.column]
        if mapping.transform.value_map is not None:
            said = value if field.type is FieldType.STRING else self._symbol(field, value)
            entries = {key.lower(): target for key, target in mapping.transform.value_map.items()}
            if said.lower() in entries:
                return _column_constant(column, entries[said.lower()])
            if value != NOTHING[field.type]:
                raise NoCounterpart(f"{field.name}={value}")
            return None
        if field.type in BECOMES_NULL and value == NOTHING[field.type]:
            return _column_constant(column, default)
        if Path(mapping.dataverse or "").is_lookup and value == NOTHING[field.type]:
            return None
        if field.type is FieldType.ENUM and column.type.is_text:
            return self._symbol(field, value) or None
        return _as_column(value, column)

    async def to_finops(self, table_map: TableMap, mapping: FieldMapping, row: Values) -> Any:
        """What the F&O end of a row holds for a Dataverse row. NoCounterpart when its value map has no entry."""
        field = self.catalog.entities[table_map.entity].field[(mapping.finops or "").lower()]
        default = self._field_constant(field, mapping.transform.default)
        if not mapping.dataverse:
            return default
        table, path = self.catalog.tables[table_map.table], Path(mapping.dataverse)
        value = await self.follow(table, row, path)
        if value is None:
            return default
        column = path.leaf(table, self.catalog)
        if mapping.transform.value_map is not None:
            for symbol, target in mapping.transform.value_map.items():
                known = field.type is not FieldType.ENUM or self._value_of(field, symbol) is not None
                if target != "" and known and _same(_column_constant(column, target), value, by_name=True):
                    return self._field_constant(field, symbol)
            raise NoCounterpart(f"{path.text}={value}")
        if field.type is FieldType.ENUM and column.type.is_text:
            return self._value_of(field, value)
        return _as_field(value, field)

    async def _to_finops_first(self, table_map: TableMap, field: str, row: Values) -> Any:
        """The value of a field that several columns lead to: the first that is one."""
        nothing = NOTHING[self.catalog.entities[table_map.entity].field[field].type]
        for mapping in table_map.rows:
            if goes_to_finops(table_map, mapping) and (mapping.finops or "").lower() == field:
                value = await self.to_finops(table_map, mapping, row)
                if value != nothing:
                    return value
        return nothing

    def _field_constant(self, field: EntityField, text: str | None) -> Any:
        if text is None or text == "":
            return NOTHING[field.type]
        if field.type is FieldType.ENUM:
            return self._value_of(field, text)
        if field.type is FieldType.BOOLEAN:
            return text.lower() in ("true", "yes", "1")
        return text if field.type is FieldType.STRING else _as_field(Decimal(text), field)

    def _symbol(self, field: EntityField, value: Any) -> str:
        if field.type is FieldType.BOOLEAN:
            return "true" if value else "false"
        members = self.catalog.enums[field.enum or ""].members
        return next((member.symbol for member in members if member.value == value), "")

    def _value_of(self, field: EntityField, symbol: str) -> int | None:
        members = self.catalog.enums[field.enum or ""].members
        return next((member.value for member in members if member.symbol.lower() == symbol.lower()), None)

    def _view(self, table_map: TableMap) -> str:
        return f'finops."{view_name(self.catalog, self.catalog.entities[table_map.entity])}"'


def goes_to_finops(table_map: TableMap, mapping: FieldMapping) -> bool:
    """Whether a row carries its value to F&O: as its arrow says, or with another part of its lookup's natural key."""
    if mapping.to_finops or not mapping.dataverse or not Path(mapping.dataverse).is_lookup:
        return mapping.to_finops
    head = Path(mapping.dataverse).head
    others = [row for row in table_map.rows if row.dataverse and row.to_finops and Path(row.dataverse).is_lookup]
    return any(Path(row.dataverse or "").head == head for row in others)


def _row_of(table_map: TableMap, path: str) -> FieldMapping | None:
    """The row that maps a part of the integration key; None for the company, which is implied."""
    for row in table_map.rows:
        if row.dataverse and row.finops and row.dataverse.lower() == path.lower():
            return row
    return None


def _column_constant(column: Column, text: str | None) -> Any:
    if text is None or (text == "" and not column.type.is_text):
        return None
    if column.type is ColumnType.BOOLEAN:
        return text.lower() in ("true", "yes", "1")
    if column.type.is_text:
        return text or None
    return _as_column(Decimal(text), column)


def _as_column(value: Any, column: Column) -> Any:
    """A value of F&O in the type of a column."""
    if column.type.is_text:
        return str(value)
    if column.is_date_only and isinstance(value, datetime):
        return value.astimezone(UTC).date()
    if column.type is ColumnType.DATE_TIME and not column.is_date_only and not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    if column.type is ColumnType.DOUBLE:
        return float(value)
    if column.type.is_choice or column.type in (ColumnType.INTEGER, ColumnType.BIG_INT):
        return int(value)
    if column.type is ColumnType.BOOLEAN:
        return bool(value)
    return value


def _as_field(value: Any, field: EntityField) -> Any:
    """A value of Dataverse in the type of a field."""
    if field.type is FieldType.STRING:
        return str(value)
    if field.type is FieldType.DATE and isinstance(value, datetime):
        return value.astimezone(UTC).date()
    if field.type is FieldType.DATE_TIME and not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    if field.type is FieldType.TIME and isinstance(value, datetime):
        return value.hour * 3600 + value.minute * 60 + value.second
    if field.type is FieldType.REAL:
        return Decimal(str(value))
    if field.type in (FieldType.INT, FieldType.INT64, FieldType.ENUM):
        return int(value)
    return value


def _same(expected: Any, stands: Any, *, by_name: bool) -> bool:
    if by_name and isinstance(expected, str | None) and isinstance(stands, str | None):
        return (expected or "").lower() == (stands or "").lower()
    return bool(expected == stands)


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _equals(column: Column, number: int) -> str:
    return f'lower("{column.name}") = ${number}' if column.type.is_text else f'"{column.name}" = ${number}'
