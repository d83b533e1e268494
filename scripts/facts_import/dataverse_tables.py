"""Dataverse tables: types, options, keys, companies, defaults, and the names of their relationships."""

from __future__ import annotations

import re
from typing import Any

from facts_import.facts import Facts, hand_kept
from facts_import.solutions import Placement
from isthmus.metadata.choice import Option
from isthmus.metadata.relationship import Cascade, OneToMany
from isthmus.metadata.relationship_names import Named, relationships_of
from isthmus.metadata.system_columns import GROUPS, groups_of, with_system_columns
from isthmus.metadata.table import AlternateKey, Column, Table
from isthmus.metadata.types import ColumnType

_COLUMNS = hand_kept("columns")
_RELATIONSHIPS = hand_kept("known_relationships")
_NOT_REQUIRED = frozenset(_COLUMNS["not_required"]["columns"])
_TABLE_NAMES = frozenset(_COLUMNS["table_names"]["columns"])
_INTEGER_RANGE = (-2147483648, 2147483647)
_FIRST_OPTION = 192350000
_BEHAVIOURS = {
    "parental": Cascade(
        assign="Cascade", delete="Cascade", merge="Cascade", reparent="Cascade", share="Cascade", unshare="Cascade"
    ),
    "restrict": Cascade(delete="Restrict"),
    "remove_link": Cascade(),
}


def import_tables(facts: Facts, placement: Placement) -> tuple[dict[str, Table], dict[str, tuple[OneToMany, ...]]]:
    """All Dataverse tables by logical name, and their relationships."""
    tables = {name: _table(facts, placement, name) for name in facts.tables}
    relationships = {name: relationships_of(table, _named(table)) for name, table in tables.items()}
    return tables, relationships


def _table(facts: Facts, placement: Placement, name: str) -> Table:
    fact = facts.tables[name]
    columns = [column for row in fact["columns"] if (column := _column(facts, fact, row)) is not None]
    company = _company_column(fact, columns)
    names = {column.name for column in columns}
    groups = [group for group in groups_of("UserOwned") if _has(names, group)]
    ownership = fact["ownership"]
    if ownership == "UserOwned" and "owner" not in groups:
        ownership = "OrganizationOwned"
    if "audit" not in groups and ownership != "None":
        groups.insert(0, "audit")
    primary_name = fact["primary_name"]
    if primary_name and not next(c for c in columns if c.name == primary_name).type.is_text:
        primary_name = next(c.name for c in columns if c.type is ColumnType.STRING)
    own = [column for column in columns if not _is_usual(column)]
    all_columns = with_system_columns(_primary_first(own, fact["primary_id"]), groups)
    if "versionnumber" not in {column.name for column in all_columns}:
        all_columns = (*all_columns, next(c for c in with_system_columns((), ["audit"]) if c.name == "versionnumber"))
    return Table(
        logical_name=name,
        schema_name=fact["schema_name"],
        entity_set_name=fact["entity_set_name"],
        display_name=_table_label(facts, fact),
        primary_id=fact["primary_id"],
        primary_name=primary_name,
        ownership=ownership,
        company_column=company,
        is_activity=fact["primary_id"] == "activityid",
        columns=all_columns,
        keys=_keys(facts, fact, names, company),
        solution=placement.of_table(name),
    )


def _is_usual(column: Column) -> bool:
    """Whether the platform's own column of this name serves; a table's own states and status reasons stay."""
    usual = next((c for group in GROUPS.values() for c in group if c.name == column.name), None)
    return usual is not None and (not column.type.is_choice or column.options == usual.options)


def _has(names: set[str], group: str) -> bool:
    marker = {"audit": "createdon", "owner": "ownerid", "state": "statecode"}[group]
    return marker in names


def _primary_first(columns: list[Column], primary_id: str) -> list[Column]:
    return sorted(columns, key=lambda column: column.name != primary_id)


def _column(facts: Facts, fact: dict[str, Any], row: dict[str, Any]) -> Column | None:
    name, kind = row["name"], ColumnType(row["type"])
    options = _options(fact, row)
    max_length = _COLUMNS["lengths"].get(fact["logical_name"], {}).get(name, row.get("max_length"))
    targets = tuple(row.get("targets", ()))
    if name == fact["primary_id"]:
        kind, targets = ColumnType.UNIQUE_IDENTIFIER, ()
    elif name == "versionnumber":
        kind, max_length = ColumnType.BIG_INT, None
    elif name in _TABLE_NAMES:
        kind, max_length, options = ColumnType.STRING, 64, ()
    elif (statuses := _unmapped_statuses(facts, fact, name)) is not None:
        kind, max_length, options = ColumnType.PICKLIST, None, statuses
    if targets:
        targets = tuple(target for target in targets if target in facts.tables)
        if not targets:
            facts.note(f"dropped lookup {fact['logical_name']}.{name}: {', '.join(row['targets'])} not in the set")
            return None
    if kind is ColumnType.BOOLEAN and [option.label for option in options] == ["No", "Yes"]:
        options = ()
    bounded = kind is not ColumnType.INTEGER or (row.get("min"), row.get("max")) != _INTEGER_RANGE
    default = _default(facts, fact, name, kind, options)
    return Column(
        name=name,
        type=kind,
        display_name=row.get("display_name") or _column_label(facts, fact, name),
        required_level=_required_level(fact, row, default),
        max_length=max_length,
        precision=row.get("precision"),
        min=_bound(row.get("min")) if bounded else None,
        max=_bound(row.get("max")) if bounded else None,
        targets=targets,
        options=options,
        format=row.get("format"),
        default=default,
    )


def _options(fact: dict[str, Any], row: dict[str, Any]) -> tuple[Option, ...]:
    """The options of a choice by value; where the facts list a value twice, the later label stands."""
    listed = row.get("options") or _COLUMNS["options"].get(fact["logical_name"], {}).get(row["name"], ())
    return tuple({option[0]: Option(*option) for option in listed}.values())


def _bound(value: float | None) -> float | None:
    return None if value is None else float(value)


def _required_level(fact: dict[str, Any], row: dict[str, Any], default: Any) -> Any:
    """What only the platform fills isn't asked of callers; what has a default is never missing."""
    level = row["required_level"]
    if level == "SystemRequired" and row["name"] in _NOT_REQUIRED and row["name"] != fact["primary_id"]:
        return "None"
    return level


def _default(facts: Facts, fact: dict[str, Any], name: str, kind: ColumnType, options: tuple[Option, ...]) -> Any:
    """Yes/no columns start at No, states at their first. A mapped column starts where the F&O enum's member 0 maps to,
    so that a row made without a value is the same on both halves."""
    said = _COLUMNS["defaults"].get(fact["logical_name"], {})
    if name in said:
        return said[name]
    if kind is ColumnType.BOOLEAN:
        return _of_first_member(facts, fact, name) == "true"
    if kind is ColumnType.STATE:
        return options[0].value
    if kind is ColumnType.STATUS:
        first = next(c for c in fact["columns"] if c["type"] == "State")["options"][0][0]
        return next((option.value for option in options if option.state == first), options[0].value)
    if kind is ColumnType.PICKLIST:
        mapped = _of_first_member(facts, fact, name)
        if mapped is not None and mapped.isdigit():
            return int(mapped)
        required = next(c for c in fact["columns"] if c["name"] == name)["required_level"] == "SystemRequired"
        return options[0].value if required and options else None
    return None


def _of_first_member(facts: Facts, fact: dict[str, Any], name: str) -> str | None:
    """What the value map of a column makes of the enum's member 0, in lower case."""
    for row, field in _rows_onto(facts, fact, name):
        value_map = (row["transform"] or {}).get("valueMap")
        if not value_map or field.get("type") != "enum":
            continue
        first = next((symbol for value, symbol in facts.enums[field["enum"]] if value == 0), None)
        for symbol, option in value_map.items():
            if first is not None and symbol.lower() == first.lower():
                return str(option).lower()
    return None


def _unmapped_statuses(facts: Facts, fact: dict[str, Any], name: str) -> tuple[Option, ...] | None:
    """Options for a column whose map says "value map" without saying which: one per member of the enum."""
    for row, field in _rows_onto(facts, fact, name):
        transform = row["transform"]
        if transform and transform["type"] == "ValueMap" and not transform["valueMap"]:
            return tuple(Option(_FIRST_OPTION + value, symbol) for value, symbol in facts.enums[field["enum"]])
    return None


def _rows_onto(facts: Facts, fact: dict[str, Any], name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Field mappings whose path starts at this column, each with its F&O field."""
    found = []
    for map_name, table in sorted(facts.map_table.items()):
        if table != fact["logical_name"]:
            continue
        fields = {f["name"].lower(): f for f in facts.entities[facts.map_entity[map_name]]["fields"]}
        for row in facts.maps[map_name]["fields"]:
            if row["dataverse"] and row["dataverse"].split(".")[0] == name and row["finops"]:
                found.append((row, fields[row["finops"].lower()]))
    return found


def _company_column(fact: dict[str, Any], columns: list[Column]) -> str | None:
    """The lookup to cdm_company, except where the company is itself what a global table is about (ledgers)."""
    lookups = [column.name for column in columns if column.targets == ("cdm_company",)]
    if not lookups or fact["logical_name"] == "msdyn_ledger":
        return None
    return lookups[0]


def _keys(facts: Facts, fact: dict[str, Any], names: set[str], company: str | None) -> tuple[AlternateKey, ...]:
    """One alternate key per distinct integration key, and the hand-kept ones. Keys of maps hold the company already."""
    found: list[tuple[str, ...]] = []
    for key in fact.get("integration_keys", ()):
        columns = tuple(key["columns"])
        if company is not None and key["map"] not in facts.maps and company not in columns:
            columns = (*columns, company)
        if columns not in found and columns != (fact["primary_id"],):
            found.append(columns)
    for columns in _EXTRA_KEYS.get(fact["logical_name"], ()):
        if set(columns) <= names and columns not in found:
            found.append(columns)
    names_of_keys = (f"{fact['logical_name']}_key{number if number > 1 else ''}" for number in range(1, len(found) + 1))
    return tuple(AlternateKey(name, columns) for name, columns in zip(names_of_keys, found, strict=True))


_EXTRA_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "annotation": (("msdyn_notesid", "msdyn_company"),),
    "msdyn_inventorylocation": (("msdyn_warehouselocationid", "msdyn_warehouse", "msdyn_company"),),
    "msdyn_fiscalcalendaryear": (("msdyn_name", "msdyn_fiscalcalendarname"),),
    "systemuser": (("azureactivedirectoryobjectid",),),
}
"""Keys that maps look rows up by and that the facts don't list."""


def _named(table: Table) -> list[Named]:
    found = []
    for column, targets in _RELATIONSHIPS.get(table.logical_name, {}).items():
        for target, said in targets.items():
            known = table.column.get(column)
            if known is None or target not in known.targets:
                continue
            cascade = _BEHAVIOURS[said["behaviour"]] if "behaviour" in said else None
            found.append(Named(column=column, target=target, collection=said.get("collection"), cascade=cascade))
    return found


def _table_label(facts: Facts, fact: dict[str, Any]) -> str:
    if not fact.get("inferred"):
        return str(fact["display_name"])
    for map_name, table in sorted(facts.map_table.items()):
        if table == fact["logical_name"]:
            public = facts.entities[facts.map_entity[map_name]]["public_entity_name"]
            return _words(re.sub(r"V\d+$|(?i:cds)|Entity$", "", public))
    return _words(fact["logical_name"].split("_", 1)[-1].capitalize())


def _column_label(facts: Facts, fact: dict[str, Any], name: str) -> str:
    if name == fact["primary_id"]:
        return _table_label(facts, fact)
    for _, field in _rows_onto(facts, fact, name):
        return _words(field["name"])
    return _words(name.split("_", 1)[-1].replace("_", " ").capitalize())


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
