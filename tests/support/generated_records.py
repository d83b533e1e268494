"""Valid records for any table map, on either half, made from the catalog alone.

A draft says what one record is on both halves: a value for each mapped field, as F&O holds it, and for each lookup the
row it leads to. Fields that feed one another (a lookup of several parts, one field in two columns) agree in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from isthmus.apps.principal import Half
from isthmus.metadata.entity import Entity, EntityField
from isthmus.metadata.table import Column
from isthmus.metadata.table_map import FieldMapping, TableMap
from isthmus.metadata.types import ColumnType, FieldType
from tests.support.choices import Choices
from tests.support.generated_values import FIRST_DAY, Generator, physical
from tests.support.map_filters import Wanted, ways
from tests.support.oracle import NOTHING, Oracle, Path, Values, goes_to_finops
from tests.support.world import World

_ATTEMPTS = 60

PARTY_TYPES = {
    192350001: "Person",
    192350002: "Organization",
    192350003: "LegalEntity",
    192350004: "Team",
    192350005: "OperatingUnit",
}
"""Types of party: Dataverse's option, F&O's text."""


COMPLETED = {
    "DirPartyTable": {"name"},
    "DirPartyLocation": {"purpose", "isprimary", "isrolebusiness", "isroledelivery", "isrolehome", "isroleinvoice"},
    "LogisticsElectronicAddress": {"isprimary"},
    "LogisticsPostalAddress": {"validfrom", "validto", "address"},
}
"""Columns of F&O tables whose values business logic works out from others, whatever is given."""


class NoRecord(Exception):
    """What stands in the world leaves no room for another record of this kind."""


class Draft(msgspec.Struct):
    """One record on both halves: values by lower-case F&O field; the (table, id) behind each lookup column."""

    company: str | None
    fields: Values
    parents: dict[str, tuple[str, UUID] | None]


class Demand(msgspec.Struct):
    """What a record must be, to pass a filter or to fail it: values of fields, fields that must have one, and values
    of Dataverse columns that no field is mapped to."""

    fields: Values = {}
    filled: frozenset[str] = frozenset()
    columns: Values = {}


class Maker:
    """Makes records of one table map."""

    def __init__(self, table_map: TableMap, oracle: Oracle, world: World, generator: Generator) -> None:
        self.table_map = table_map
        self.world = world
        self.catalog = oracle.catalog
        self.entity: Entity = self.catalog.entities[table_map.entity]
        self.table = self.catalog.tables[table_map.table]
        self._oracle = oracle
        self._generator = generator
        self.pairs = [row for row in table_map.rows if row.finops and row.dataverse]
        self.lookups: dict[str, list[FieldMapping]] = {}
        for row in self.pairs:
            if path_of(row).is_lookup:
                self.lookups.setdefault(path_of(row).head, []).append(row)
        key_paths = {text.lower() for text in table_map.integration_key}
        keys = [field_of(row) for row in self.pairs if path_of(row).text.lower() in key_paths]
        self.key_fields = [
            *keys,
            *(key.lower() for key in self.entity.keys if key.lower() not in (*keys, "dataareaid")),
        ]
        self._party_types = {
            field.source: field.column
            for field in self.entity.fields
            if physical(self.entity, field) == ("DirPartyTable", "partytype")
        }

    @property
    def is_company_specific(self) -> bool:
        return self.entity.company_specific

    @property
    def deciding_fields(self) -> frozenset[str]:
        """Fields whose values decide whether the record takes part."""
        return frozenset(
            name
            for passes in (True, False)
            for demand in (*self.finops_demands(passes), *self.dataverse_demands(passes))
            for name in demand.fields
        )

    @property
    def fixed_fields(self) -> frozenset[str]:
        """Fields that keep their value: those of the key, and those that decide whether the record takes part."""
        return self.deciding_fields.union(self.key_fields, self._party_types.values())

    @property
    def domains(self) -> Collection[tuple[str, str]]:
        """The (table, column) pairs of F&O that any map reads."""
        return self._generator.domains.keys()

    def is_its_own(self, name: str) -> bool:
        """Whether a field is the record's alone, and not worked out: a party may be shared by several."""
        field = self.entity.field[name]
        table, column = physical(self.entity, field)
        return field.source == self.entity.root.name and column not in COMPLETED.get(table, ())

    def known_values(self, name: str) -> list[Any]:
        """The values of a field that its value maps know."""
        return self._generator.known(self.entity, self.entity.field[name])

    @property
    def filled_fields(self) -> frozenset[str]:
        """Fields that must have a value for the record to take part."""
        demands = (*self.finops_demands(True), *self.dataverse_demands(True))
        return frozenset().union(*(demand.filled for demand in demands))

    def fields_from(self, half: Half) -> frozenset[str]:
        """The fields whose values the map carries away from a half."""
        return frozenset(
            field_of(row)
            for row in self.pairs
            if (row.to_dataverse if half == "finops" else goes_to_finops(self.table_map, row))
        )

    def without_numbers(self, values: Values) -> Values:
        """The values without those that a number sequence gives."""
        return {n: v for n, v in values.items() if n == "dataareaid" or not self.entity.field[n].number_sequence}

    # What a record must be ------------------------------------------------------------------------------------------

    def demands(self, half: Half, *, passes: bool) -> list[Demand]:
        """Ways to pass or fail the filter of the leg that begins on a half."""
        return self.finops_demands(passes) if half == "finops" else self.dataverse_demands(passes)

    def finops_demands(self, passes: bool) -> list[Demand]:
        """Ways to pass or fail the map's F&O filter."""
        return [self._finops_demand(way) for way in ways(self.table_map.finops_filter, passes)]

    def _finops_demand(self, way: Mapping[str, Wanted]) -> Demand:
        fields: Values = {}
        filled = set()
        for name, wanted in way.items():
            field = self.entity.field[name]
            if wanted.excluded == ("",):
                filled.add(name)
            elif field.type is FieldType.ENUM:
                enum = self.catalog.enums[field.enum or ""]
                numbers = [
                    enum.value_of(literal) if isinstance(literal, str) else literal
                    for literal in wanted.excluded or (wanted.value,)
                ]
                others = [member.value for member in enum.members if member.value not in numbers]
                fields[name] = others[0] if wanted.excluded else numbers[0]
            elif not wanted.excluded:
                fields[name] = wanted.value
            elif name not in self.key_fields:
                texts = PARTY_TYPES.values() if name in self._party_types.values() else ("File",)
                fields[name] = next(text for text in texts if text not in wanted.excluded)
        return Demand(fields, frozenset(filled))

    def dataverse_demands(self, passes: bool) -> list[Demand]:
        """Ways to pass or fail the map's Dataverse filter."""
        return [self._dataverse_demand(way) for way in ways(self.table_map.dataverse_filter, passes)]

    def _dataverse_demand(self, way: Mapping[str, Wanted]) -> Demand:
        demand = Demand(
            {field_of(row): row.transform.default for row in self.table_map.rows if row.finops and not row.dataverse}
        )
        for name, wanted in way.items():
            row = next((row for row in self.pairs if path_of(row).text.lower() == name), None)
            value = wanted.value
            if wanted.excluded:
                mapped = row is not None and row.transform.value_map is not None
                others = [other for other in _some_values(self.table.column[name]) if other not in wanted.excluded]
                value = next(other for other in others if not (mapped and other is None))
            if row is None:
                demand.columns[name] = value
            elif row.transform.value_map is not None:
                field = self.entity.field[field_of(row)]
                symbol = next(s for s, to in row.transform.value_map.items() if to.lower() == str(value).lower())
                demand.fields[field.column] = self._generator.of_map(field, {symbol: ""})[0]
            elif wanted.excluded:
                demand.filled |= {field_of(row)}
            else:
                demand.fields[field_of(row)] = "" if value is None else value
        return demand

    def passing_values(self, half: Half) -> Values:
        """Values that let a record pass the filter after all, as far as they may change."""
        demand = self.demands(half, passes=True)[0]
        fields = {n: v for n, v in demand.fields.items() if n not in (*self.key_fields, *self._party_types.values())}
        if half == "finops":
            return fields
        rows = [row for row in self.pairs if field_of(row) in fields and not path_of(row).is_lookup]
        mapped = {path_of(row).head: self._oracle.to_dataverse(self.table_map, row, fields) for row in rows}
        return {**demand.columns, **mapped}

    # Drafts ---------------------------------------------------------------------------------------------------------

    def draft(self, choices: Choices, company: str | None, demand: Demand, taken: Collection[Any] = ()) -> Draft:
        """A record of this company whose key is none of `taken`. NoRecord when there is no room for it."""
        for _ in range(_ATTEMPTS):
            draft = Draft(company, dict(demand.fields), {})
            heads = sorted(self.lookups, key=lambda head: -len(self.lookups[head]))
            if all(self._choose_parent(draft, choices, head, demand.filled) for head in heads):
                for row in self.pairs:
                    if field_of(row) not in draft.fields:
                        draft.fields[field_of(row)] = self._scalar(choices, field_of(row), company, demand.filled)
                _end_after_beginning(draft.fields)
                if self.key_of(draft.fields, company) not in taken:
                    return draft
        raise NoRecord(f"{self.table_map.name}: company {company}, {demand}")

    def key_of(self, fields: Values, company: str | None) -> tuple[Any, ...]:
        """What identifies a record, to compare."""
        return company, *(str(fields.get(name)).lower() for name in self.key_fields)

    def _choose_parent(self, draft: Draft, choices: Choices, head: str, filled: frozenset[str]) -> bool:
        """Choose the row behind a lookup and set the fields that name it. False when none agrees with the draft."""
        rows = self.lookups[head]
        fitting = []
        for target, row_id in self._candidates(head, rows[0], draft.company):
            values = self._values_of_parent(draft, rows, target, row_id)
            if values is not None:
                fitting.append((target, row_id, values))
        nothing = {field_of(row): NOTHING[self.entity.field[field_of(row)].type] for row in rows}
        may_be_empty = not self._is_required(head, filled) and all(
            draft.fields.get(name, value) == value for name, value in nothing.items()
        )
        if not fitting and not may_be_empty:
            return False
        if not fitting or (may_be_empty and choices.whole(0, 3) == 0):
            draft.fields.update(nothing)
            draft.parents[head] = None
            return True
        target, row_id, values = choices.one_of(fitting)
        draft.fields.update({name: draft.fields.get(name, value) for name, value in values.items()})
        draft.parents[head] = (target, row_id)
        return True

    def _candidates(self, head: str, row: FieldMapping, company: str | None) -> list[tuple[str, UUID]]:
        path = path_of(row)
        targets = [table for table, _ in path.alternatives] or [
            target
            for target in self.table.column[head].targets
            if path.segments[1] in self.catalog.tables[target].column
        ]
        return [(target, row_id) for target in targets for row_id in self.world.of(target, company)]

    def _values_of_parent(self, draft: Draft, rows: Sequence[FieldMapping], target: str, row_id: UUID) -> Values | None:
        """The fields that name a row; None when it can't be named, or not together with what the draft holds."""
        values: Values = {}
        for row in rows:
            field = self.entity.field[field_of(row)]
            value = self.world.value(target, row_id, path_of(row))
            if value is None or (isinstance(value, str) and len(value) > (field.max_length or len(value))):
                return None
            values[field.column] = (
                value.date() if field.type is FieldType.DATE and isinstance(value, datetime) else value
            )
            if field.field.lower() == "partynumber" and field.source in self._party_types:
                party_type = self._party_types[field.source]
                values[party_type] = PARTY_TYPES.get(self.world.row(target, row_id)["msdyn_partytype"])
                if not self._is_known(party_type, values[party_type]):
                    return None
        agrees = all(_folded(draft.fields.get(name, value)) == _folded(value) for name, value in values.items())
        return values if agrees else None

    def _is_known(self, name: str, value: Any) -> bool:
        """Whether the map's value map of a field, if there is one, knows a value."""
        maps = [row.transform.value_map for row in self.pairs if field_of(row) == name]
        return all(value in self._generator.of_map(self.entity.field[name], m) for m in maps if m is not None)

    def _is_required(self, head: str, filled: frozenset[str]) -> bool:
        names = {field_of(row) for row in self.lookups[head]}
        return (
            any(self.entity.field[name].mandatory for name in names)
            or not names.isdisjoint((*self.key_fields, *filled))
            or self.table.column[head].required_level == "SystemRequired"
        )

    def _scalar(self, choices: Choices, name: str, company: str | None, filled: frozenset[str]) -> Any:
        """A value of a field that is no part of a lookup."""
        field = self.entity.field[name]
        if name in self.key_fields:
            return self._generator.key(choices, self.entity, field)
        known = self.world.known(*physical(self.entity, field), company) if field.type is FieldType.STRING else None
        if known is not None:
            fitting = [text for text in known if len(text) <= self._generator.longest(self.entity, field)]
            return choices.one_of(fitting if field.mandatory and fitting else ["", *fitting])
        value = self._generator.value(choices, self.entity, field)
        columns = [self.table.column[path_of(row).head] for row in self.pairs if field_of(row) == name]
        must_have = field.mandatory or name in filled or any(c.required_level == "SystemRequired" for c in columns)
        return "-" if value == "" and must_have else value

    # What is written ------------------------------------------------------------------------------------------------

    def finops_values(self, draft: Draft) -> Values:
        """What creates the record on the F&O half."""
        forward = {field_of(row) for row in self.pairs if row.to_dataverse}
        backward = {field_of(row) for row in self.pairs} - forward - set(self.key_fields)
        values = {
            name: value
            for name, value in draft.fields.items()
            if name not in backward and not self.entity.field[name].read_only
        }
        for field in self.entity.fields:
            if field.mandatory and field.column not in values and field.column != "dataareaid":
                values[field.column] = self._unmapped(field, draft.company)
        if self.entity.company_specific:
            values["dataareaid"] = draft.company
        return values

    def _unmapped(self, field: EntityField, company: str | None) -> Any:
        """A value for a mandatory field that no row maps."""
        known = self.world.known(*physical(self.entity, field), company)
        if known:
            return known[0]
        if field.type is FieldType.STRING:
            return self._generator.short_text()[: field.max_length]
        if field.type is FieldType.ENUM:
            return self.catalog.enums[field.enum or ""].members[-1].value
        return FIRST_DAY if field.type is FieldType.DATE else NOTHING[field.type]

    def dataverse_values(self, draft: Draft, columns: Mapping[str, Any]) -> Values:
        """What creates the row on the Dataverse half; `columns` are those that no field is mapped to."""
        values: Values = {}
        for row in self.pairs:
            if goes_to_finops(self.table_map, row) or field_of(row) in self.key_fields:
                values.update(self._columns(row, draft))
        values.update(columns)
        for column in self.table.columns:
            if column.required_level == "SystemRequired" and values.get(column.name) is None:
                self._fill_required(values, column, draft.company)
        if self.table.company_column:
            values[self.table.company_column] = self.world.companies.get(draft.company or "")
        return values

    def columns_for(self, draft: Draft, fields: Collection[str]) -> Values:
        """The columns that lead to these fields."""
        values: Values = {}
        for row in self.pairs:
            if goes_to_finops(self.table_map, row) and field_of(row) in fields:
                values.update(self._columns(row, draft))
        return values

    def _columns(self, row: FieldMapping, draft: Draft) -> Values:
        """Column of one row of the map, and its type column where it may lead to several tables."""
        path = path_of(row)
        column = self.table.column[path.head]
        if column.read_only or column.name == self.table.primary_id:
            return {}
        if not path.is_lookup:
            return {column.name: self._oracle.to_dataverse(self.table_map, row, draft.fields)}
        target, row_id = draft.parents[path.head] or (None, None)
        typed = {column.type_column: target} if column.is_polymorphic else {}
        return {column.name: row_id, **typed}

    def _fill_required(self, values: Values, column: Column, company: str | None) -> None:
        if column.type.is_choice or column.name == "ownerid" or column.default is not None or column.read_only:
            return
        if column.type.is_text:
            values[column.name] = self._generator.short_text()
        elif column.type.is_lookup:
            values[column.name] = next(iter(self.world.of(column.targets[0], company)), None)
        elif column.type is ColumnType.BOOLEAN:
            values[column.name] = False
        elif column.type in (ColumnType.DECIMAL, ColumnType.MONEY):
            values[column.name] = Decimal(1)
        elif column.type is ColumnType.INTEGER:
            values[column.name] = 1

    def bundles(self) -> list[frozenset[str]]:
        """Fields that can only change together: the parts of a lookup, and of lookups that share one."""
        together = [{field_of(row) for row in rows} for rows in self.lookups.values()]
        together += [{field_of(row)} for row in self.pairs]
        together.append({"validfrom", "validto"} & {field_of(row) for row in self.pairs})
        merged: list[set[str]] = []
        for fields in together:
            apart = [bundle for bundle in merged if bundle.isdisjoint(fields)]
            merged = [*apart, fields.union(*(bundle for bundle in merged if not bundle.isdisjoint(fields)))]
        return [frozenset(bundle) for bundle in merged if bundle and bundle.isdisjoint(self.fixed_fields)]


def field_of(row: FieldMapping) -> str:
    """The F&O field of a row, in lower case."""
    return (row.finops or "").lower()


def path_of(row: FieldMapping) -> Path:
    """The Dataverse end of a row."""
    return Path(row.dataverse or "")


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _end_after_beginning(fields: Values) -> None:
    """What is valid for a time ends after it begins."""
    begin, end = fields.get("validfrom"), fields.get("validto")
    if begin is not None and end is not None and end <= begin:
        fields["validto"] = begin + timedelta(days=1)


def _some_values(column: Column) -> list[Any]:
    """A few values of a column, null among them."""
    if column.type is ColumnType.BOOLEAN:
        return [None, True, False]
    if column.type.is_choice:
        return [*(option.value for option in column.options), None]
    return ["task", None]
