"""What the counterpart of a record must hold, worked out from the definition files alone.

A second, plain reading of the mapping rules: no SQL is compiled and nothing of isthmus.dual_write is used, so that a
fault there shows as a difference. Text that names another row compares without regard to case, as both halves do; all
other text must be the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from isthmus.finops.schema import view_name
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import EntityField
from isthmus.metadata.table import Column, Table
from isthmus.metadata.table_map import FieldMapping, TableMap
from isthmus.metadata.types import ColumnType, FieldType
from tests.support.map_filters import holds

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

    async def dataverse_row(self, table: str, row_id: UUID) -> Values | None:
        """A row as it is stored."""
        key = self.catalog.tables[table].primary_id
        found = await self._dataverse.fetchrow(f'select * from dataverse."{table}" where "{key}" = $1', row_id)
        return dict(found) if found else None

    async def takes_part_from_finops(self, table_map: TableMap, record: Values) -> bool:
        """Whether a record passes the map's F&O filter."""
        fields = self.catalog.entities[table_map.entity].field
        symbols = {
            name: self._symbol(fields[name], record[name])
            for name in record
            if name in fields and fields[name].type is FieldType.ENUM
        }
        return holds(table_map.finops_filter, record, symbols)

    async def takes_part_from_dataverse(self, table_map: TableMap, row: Values) -> bool:
        """Whether a row passes the map's Dataverse filter and, in a company-specific table, has a company."""
        company = self.catalog.tables[table_map.table].company_column
        return (company is None or row[company] is not None) and holds(table_map.dataverse_filter, row, {})

    async def counterparts_in_dataverse(self, table_map: TableMap, record: Values) -> list[Values]:
        """All rows that the integration key of a record names; a sound half has one at most."""
        table = self.catalog.tables[table_map.table]
        wanted: dict[str, Any] = {}
        for text in table_map.integration_key:
            row = _row_of(table_map, text)
            leaf = Path(text).leaf(table, self.catalog)
            value = record.get("dataareaid") if row is None else self.to_dataverse(table_map, row, record)
            wanted[text] = _folded(value)
            if leaf.type.is_text and wanted[text] is not None:
                wanted[text] = str(wanted[text])
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
        crossed in that direction. Any other pair must agree in one direction of its row; where a row goes the other
        way only, two empty values agree.
        """
        table, found = self.catalog.tables[table_map.table], []
        for mapping in table_map.rows:
            forward = mapping.to_dataverse and mapping.dataverse is not None
            backward = mapping.to_finops and mapping.finops is not None
            path = Path(mapping.dataverse) if mapping.dataverse else None
            stands = await self.follow(table, row, path) if path else None
            field = (mapping.finops or "").lower()
            problems = []
            if forward and path:
                expected = self.to_dataverse(table_map, mapping, record)
                if not _same(expected, stands, by_name=path.is_lookup):
                    problems.append(f"{mapping.dataverse} holds {stands!r}, expected {expected!r}")
            if backward:
                expected = await self._first_value(table_map, field, row)
                if not _same(expected, record[field], by_name=bool(path and path.is_lookup)):
                    problems.append(f"{field} holds {record[field]!r}, expected {expected!r}")
            crossed = sent is None or field in sent
            with_origin = forward if origin == "finops" else backward
            if crossed and with_origin:
                wrong = problems[:1] if origin == "finops" else problems[-1:] if backward else []
                if origin == "finops" and not (forward and problems and "expected" in problems[0]):
                    wrong = []
                strict = await self._strict(table_map, mapping, record, row, origin)
                found += [f"row {mapping.row} {mapping.finops} {mapping.arrow} {mapping.dataverse}: {p}" for p in strict]
                del wrong
            elif problems and len(problems) == forward + backward and not self._both_empty(table_map, field, record, stands):
                found.append(f"row {mapping.row} {mapping.finops} {mapping.arrow} {mapping.dataverse}: {problems[0]}")
        return found
