"""Valid records for any table map, on either half: what creates and updates them, with their filters in mind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from tests.support.choices import Choices
from tests.support.generated_drafts import PARTY_TYPES, Demand, Draft, Drafts, field_of, path_of
from tests.support.generated_values import FIRST_DAY, physical
from tests.support.map_filters import Wanted, ways
from tests.support.oracle import NOTHING, Values, goes_to_finops

from isthmus.apps.principal import Half
from isthmus.metadata.entity import EntityField
from isthmus.metadata.table import Column
from isthmus.metadata.table_map import FieldMapping
from isthmus.metadata.types import ColumnType, FieldType

COMPLETED = {
    "DirPartyTable": {"name"},
    "DirPartyLocation": {"purpose", "isprimary", "isrolebusiness", "isroledelivery", "isrolehome", "isroleinvoice"},
    "LogisticsElectronicAddress": {"isprimary"},
    "LogisticsPostalAddress": {"validfrom", "validto", "address"},
}
"""Columns of F&O tables whose values business logic works out from others, whatever is given."""


class Maker(Drafts):
    """Makes records of one table map."""

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
        return self.deciding_fields.union(self.key_fields, self.party_types.values())

    @property
    def domains(self) -> Collection[tuple[str, str]]:
        """The (table, column) pairs of F&O that any map reads."""
        return self.generator.domains.keys()

    def is_its_own(self, name: str) -> bool:
        """Whether a field is the record's alone, and not worked out: a party may be shared by several."""
        field = self.entity.field[name]
        table, column = physical(self.entity, field)
        return field.source == self.entity.root.name and column not in COMPLETED.get(table, ())

    def known_values(self, name: str) -> list[Any]:
        """The values of a field that its value maps know."""
        return self.generator.known(self.entity, self.entity.field[name])

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

    def fields_of(self, half: Half, changed: Collection[str]) -> frozenset[str]:
        """The fields behind fields (F&O) or columns (Dataverse) of a half."""
        if half == "finops":
            return frozenset(changed)
        return frozenset(field_of(row) for row in self.pairs if path_of(row).head in changed)

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
                texts = PARTY_TYPES.values() if name in self.party_types.values() else ("File",)
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
                demand.fields[field.column] = self.generator.of_map(field, {symbol: ""})[0]
            elif wanted.excluded:
                demand.filled |= {field_of(row)}
            else:
                demand.fields[field_of(row)] = "" if value is None else value
        return demand

    def passing_values(self, half: Half) -> Values:
        """Values that let a record pass the filter after all, as far as they may change."""
        demand = self.demands(half, passes=True)[0]
        fields = {n: v for n, v in demand.fields.items() if n not in (*self.key_fields, *self.party_types.values())}
        if half == "finops":
            return fields
        rows = [row for row in self.pairs if field_of(row) in fields and not path_of(row).is_lookup]
        mapped = {path_of(row).head: self.oracle.to_dataverse(self.table_map, row, fields) for row in rows}
        return {**demand.columns, **mapped}

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
            return self.generator.short_text()[: field.max_length]
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
            return {column.name: self.oracle.to_dataverse(self.table_map, row, draft.fields)}
        target, row_id = draft.parents[path.head] or (None, None)
        typed = {column.type_column: target} if column.is_polymorphic else {}
        return {column.name: row_id, **typed}

    def _fill_required(self, values: Values, column: Column, company: str | None) -> None:
        if column.type.is_choice or column.name == "ownerid" or column.default is not None or column.read_only:
            return
        if column.type.is_text:
            values[column.name] = self.generator.short_text()
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

    # Variations -----------------------------------------------------------------------------------------------------

    def varied(self, half: Half, choices: Choices, values: Values) -> Values:
        """The values of a new record as another caller may give them: numbers left to F&O's sequences, names of other
        records in another case, nothing where Dataverse allows it."""
        varied = dict(values)
        without_numbers = choices.whole(0, 2) == 0
        for row in self.pairs:
            path, field = path_of(row), self.entity.field[field_of(row)]
            name = field.column if half == "finops" else path.head
            value = values.get(name)
            if field.number_sequence and not path.is_lookup:
                if without_numbers and field.column not in self.filled_fields:
                    varied.pop(name, None)
            elif half == "finops":
                if path.is_lookup and isinstance(value, str) and choices.whole(0, 3) == 0:
                    varied[name] = _in_other_case(value)
            elif not path.is_lookup and self._may_be_null(row) and choices.whole(0, 7) == 0:
                varied[name] = None
        return varied

    def _may_be_null(self, row: FieldMapping) -> bool:
        name = field_of(row)
        needed = self.filled_fields.union(self.key_fields, self.deciding_fields)
        required = self.table.column[path_of(row).head].required_level == "SystemRequired"
        shared = sum(field_of(other) == name for other in self.pairs) > 1
        return not (name in needed or required or shared or self.entity.field[name].mandatory)


def _in_other_case(text: str) -> str:
    """The same name to both halves, where the letters allow it."""
    other = text.swapcase()
    return other if other.lower() == text.lower() and len(other) == len(text) else text


def _some_values(column: Column) -> list[Any]:
    """A few values of a column, null among them."""
    if column.type is ColumnType.BOOLEAN:
        return [None, True, False]
    if column.type.is_choice:
        return [*(option.value for option in column.options), None]
    return ["task", None]
