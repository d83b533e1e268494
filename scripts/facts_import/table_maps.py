"""Table maps: names, integration keys, filters and rows, with value maps in the words of both halves."""

from __future__ import annotations

from typing import Any

from facts_import.facts import Facts, hand_kept
from facts_import.solutions import Placement
from isthmus.metadata.choice import Enum
from isthmus.metadata.entity import Entity
from isthmus.metadata.table import Table
from isthmus.metadata.table_map import Example, FieldMapping, TableMap, Transform
from isthmus.metadata.types import ColumnType, FieldType

_SYMBOLS = {("SmmSensitivity", "private"): "Privat", ("HcmEmploymentStatus", ""): "None"}
"""Words of shipped value maps for members that the enum spells otherwise."""
_FIRST_OPTION = 192350000


class TableMaps:
    """The table maps of the facts over imported tables and entities."""

    def __init__(
        self,
        facts: Facts,
        placement: Placement,
        tables: dict[str, Table],
        entities: dict[str, Entity],
        enums: list[Enum],
    ) -> None:
        self._facts = facts
        self._placement = placement
        self._tables = tables
        self._entities = entities
        self._enums = {enum.name: enum for enum in enums}
        self._examples = hand_kept("examples")

    def all(self) -> dict[str, TableMap]:
        """All table maps by the stem of their file."""
        return {name: self._table_map(name) for name in self._facts.maps}

    def _table_map(self, name: str) -> TableMap:
        fact = self._facts.maps[name]
        table = self._tables[self._facts.map_table[name]]
        entity = self._entities[self._facts.map_entity[name]]
        rows = tuple(self.row(table, entity, number, row) for number, row in enumerate(fact["fields"], 1))
        label = fact["name"].split(" - ", 1)[-1]
        return TableMap(
            name=f"{table.entity_set_name} - {label}",
            entity=entity.aot_name,
            table=table.logical_name,
            integration_key=self._integration_key(name, table),
            rows=rows,
            finops_filter=fact["finops_filter"] or "",
            dataverse_filter=fact["dataverse_filter"] or "",
            version=self._placement.version(name),
            examples=tuple(Example(**example) for example in self._examples.get(name, ())),
            solution=self._placement.of_map(name),
        )

    def _integration_key(self, name: str, table: Table) -> tuple[str, ...]:
        """The map's own key, else the table's: a key belongs to the table, whichever map it was seen on."""
        own = self._facts.maps[name]["integration_key"]
        if own:
            return tuple(own)
        keys = self._facts.tables[table.logical_name].get("integration_keys", [])
        found = next((key["paths"] for key in keys if key["map"] == name), keys[0]["paths"] if keys else None)
        if found is None:
            found = [column for column in table.keys[0].columns if column != table.company_column]
        key = list(found)
        if table.company_column and not any(path.endswith("cdm_companycode") for path in key):
            key.append(f"{table.company_column}.cdm_companycode")
        return tuple(key)

    def row(self, table: Table, entity: Entity, number: int, row: dict[str, Any]) -> FieldMapping:
        """The field mapping of a row of the facts; KeyError when its column or field is not there."""
        fact = row["transform"]
        path, arrow, transform = row["dataverse"], row["direction"], Transform()
        column = table.column[path.split(".")[0]] if path else None
        field = entity.field[row["finops"].lower()] if row["finops"] else None
        is_boolean = column is not None and column.type is ColumnType.BOOLEAN
        if fact and fact["type"] == "Default":
            value = fact["defaultValue"]
            transform = Transform(default=value.lower() if is_boolean else value)
        elif fact and field is not None and field.type in (FieldType.DATE, FieldType.DATE_TIME):
            arrow = "="
            self._facts.note(f"{entity.aot_name}.{field.name}: value map of the null date is the rule anyway; left out")
        elif fact and field is not None:
            value_map = fact["valueMap"] or self._members(field.enum)
            transform = Transform(
                value_map={
                    self._symbol(field.enum, field.name, key): value.lower() if is_boolean else value
                    for key, value in value_map.items()
                }
            )
        return FieldMapping(finops=row["finops"], arrow=arrow, dataverse=path, transform=transform, row=number)

    def _members(self, enum: str | None) -> dict[str, str]:
        """A value map that the facts leave empty: each member to the option made for it."""
        return {member.symbol: str(_FIRST_OPTION + member.value) for member in self._enums[enum or ""].members}

    def _symbol(self, enum: str | None, field: str, key: str) -> str:
        if enum is None:
            return key[:1].upper() + key[1:] if field.endswith("PartyType") else key
        known = self._enums[enum]
        symbol = _SYMBOLS.get((enum, key), key)
        found = next((member.symbol for member in known.members if member.symbol.lower() == symbol.lower()), None)
        if found is None:
            found = _without_underscores(known, symbol)
        if found is None:
            self._facts.note(f"{field}: value map names '{key}', which enum {enum} has not")
        return found or key


def _without_underscores(enum: Enum, symbol: str) -> str | None:
    """Symbols differ between sources in case, underscores and hyphens."""
    plain = symbol.replace("_", "").replace("-", "").lower()
    return next((m.symbol for m in enum.members if m.symbol.replace("_", "").lower() == plain), None)
