"""What one record is on both halves, before anything is written: drafts, made from the catalog alone.

A draft has a value for each mapped field, as F&O holds it, and for each lookup the row it leads to. Fields that feed
one another (a lookup of several parts, one field in two columns) agree in it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from tests.support.choices import Choices
from tests.support.generated_values import Generator, physical
from tests.support.oracle import NOTHING, Oracle, Path, Values
from tests.support.world import World

from isthmus.metadata.entity import Entity
from isthmus.metadata.table_map import FieldMapping, TableMap
from isthmus.metadata.types import FieldType

_ATTEMPTS = 60

PARTY_TYPES = {
    192350001: "Person",
    192350002: "Organization",
    192350003: "LegalEntity",
    192350004: "Team",
    192350005: "OperatingUnit",
}
"""Types of party: Dataverse's option, F&O's text."""


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


class Drafts:
    """Makes drafts of one table map."""

    def __init__(self, table_map: TableMap, oracle: Oracle, world: World, generator: Generator) -> None:
        self.table_map = table_map
        self.world = world
        self.catalog = oracle.catalog
        self.entity: Entity = self.catalog.entities[table_map.entity]
        self.table = self.catalog.tables[table_map.table]
        self.oracle = oracle
        self.generator = generator
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
        self.party_types = {
            field.source: field.column
            for field in self.entity.fields
            if physical(self.entity, field) == ("DirPartyTable", "partytype")
        }

    @property
    def is_company_specific(self) -> bool:
        return self.entity.company_specific

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
        may_be_empty = not self.is_required(head, filled) and all(
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
            if field.field.lower() == "partynumber" and field.source in self.party_types:
                party_type = self.party_types[field.source]
                values[party_type] = PARTY_TYPES.get(self.world.row(target, row_id)["msdyn_partytype"])
                if not self._is_known(party_type, values[party_type]):
                    return None
        agrees = all(_folded(draft.fields.get(name, value)) == _folded(value) for name, value in values.items())
        return values if agrees else None

    def _is_known(self, name: str, value: Any) -> bool:
        """Whether the map's value map of a field, if there is one, knows a value."""
        maps = [row.transform.value_map for row in self.pairs if field_of(row) == name]
        return all(value in self.generator.of_map(self.entity.field[name], m) for m in maps if m is not None)

    def is_required(self, head: str, filled: frozenset[str]) -> bool:
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
            return self.generator.key(choices, self.entity, field)
        known = self.world.known(*physical(self.entity, field), company) if field.type is FieldType.STRING else None
        if known is not None:
            fitting = [text for text in known if len(text) <= self.generator.longest(self.entity, field)]
            return choices.one_of(fitting if field.mandatory and fitting else ["", *fitting])
        value = self.generator.value(choices, self.entity, field)
        columns = [self.table.column[path_of(row).head] for row in self.pairs if field_of(row) == name]
        must_have = field.mandatory or name in filled or any(c.required_level == "SystemRequired" for c in columns)
        return "-" if value == "" and must_have else value


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
