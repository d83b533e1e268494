"""Each rule for tables, entities and enums is broken once in the shipped definitions, and exactly that is reported."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.support.spoiled import Spoiled, only

from isthmus.metadata.choice import Enum, Member, Option
from isthmus.metadata.entity import DataSource, Entity, EntityRelation, TableField
from isthmus.metadata.table import AlternateKey, Column
from isthmus.metadata.types import ColumnType, FieldType

TABLE, TABLE_FILE = "competitor", "dataverse_base/tables/competitor.toml"
ENTITY, ENTITY_FILE = "CurrencyEntity", "application_core/entities/CurrencyEntity.toml"
FINOPS, FINOPS_FILE = "Currency", "application_core/finops_tables/Currency.toml"


def add_column(spoiled: Spoiled, **column: Any) -> tuple[str, str, int | None, str]:
    """The one fault after adding a column to a table."""
    columns = (*spoiled.catalog.tables[TABLE].columns, Column(**({"type": ColumnType.STRING} | column)))
    return only(spoiled.component("tables", TABLE, columns=columns))


def last(spoiled: Spoiled) -> int:
    """Row of a column that was added."""
    return len(spoiled.catalog.tables[TABLE].columns) + 1


@pytest.mark.parametrize(("name", "code"), [('a"b', "name_unsafe"), ("1a", "name_unsafe"), ("x" * 64, "name_too_long")])
def test_column_name(spoiled: Spoiled, name: str, code: str) -> None:
    assert add_column(spoiled, name=name) == (code, TABLE_FILE, last(spoiled), name)


def test_column_twice(spoiled: Spoiled) -> None:
    assert add_column(spoiled, name="Name") == ("name_twice", TABLE_FILE, last(spoiled), "Name")


def test_entity_set_twice(spoiled: Spoiled) -> None:
    found = spoiled.component("tables", TABLE, entity_set_name="Accounts")
    assert only(found)[:2] == ("name_twice", TABLE_FILE)


@pytest.mark.parametrize("field", ["primary_name", "company_column"])
def test_named_column_missing(spoiled: Spoiled, field: str) -> None:
    found = spoiled.component("tables", "task", **{field: "nothere"})
    assert ("column_unknown", "nothere") in [(f.code, f.field) for f in found.faults]


@pytest.mark.parametrize(
    "column",
    [
        {"type": ColumnType.LOOKUP},
        {"type": ColumnType.LOOKUP, "targets": ("nosuchtable",)},
        {"type": ColumnType.PICKLIST},
        {"type": ColumnType.PICKLIST, "options": (Option(1, "a"), Option(1, "b"))},
        {"type": ColumnType.PICKLIST, "options": (Option(1, "a"),), "default": 2},
        {"type": ColumnType.BOOLEAN, "default": 1},
    ],
)
def test_column_incomplete(spoiled: Spoiled, column: dict[str, Any]) -> None:
    assert add_column(spoiled, name="x", **column) == ("column_incomplete", TABLE_FILE, last(spoiled), "x")


def test_key_of_unknown_column(spoiled: Spoiled) -> None:
    found = spoiled.component("tables", TABLE, keys=(AlternateKey("competitor_key", ("nothere",)),))
    assert only(found) == ("key_column_unknown", TABLE_FILE, 1, "nothere")


def test_key_without_company(spoiled: Spoiled) -> None:
    key = AlternateKey("msdyn_subcontract_key", ("msdyn_name",))
    found = spoiled.component("tables", "msdyn_subcontract", keys=(key,))
    assert only(found)[0] == "key_without_company"


@pytest.mark.parametrize("field", ["schema_name", "lookup_navigation", "collection_navigation"])
def test_relationship_name_twice(spoiled: Spoiled, field: str) -> None:
    relationships = list(spoiled.catalog.one_to_many)
    accounts = [i for i, r in enumerate(relationships) if (r.referencing, r.referenced) == ("account", "systemuser")]
    first, second = accounts[:2]
    value = getattr(relationships[first], field)
    relationships[second] = msgspec.structs.replace(relationships[second], **{field: value})
    found = spoiled.catalog_with(one_to_many=tuple(relationships))
    assert only(found) == ("name_twice", "dataverse_base/tables/account.toml", None, value)


def test_finops_field_name(spoiled: Spoiled) -> None:
    fields = (*spoiled.catalog.finops_tables[FINOPS].fields, TableField(name="a-b", type=FieldType.STRING))
    found = spoiled.component("finops_tables", FINOPS, fields=fields)
    assert only(found) == ("name_unsafe", FINOPS_FILE, len(fields), "a-b")


def test_finops_field_twice(spoiled: Spoiled) -> None:
    fields = spoiled.catalog.finops_tables[FINOPS].fields
    fields = (*fields, msgspec.structs.replace(fields[0], name=fields[0].name.upper()))
    found = spoiled.component("finops_tables", FINOPS, fields=fields)
    assert only(found)[:3] == ("name_twice", FINOPS_FILE, len(fields))


def test_field_of_the_system(spoiled: Spoiled) -> None:
    fields = (*spoiled.catalog.finops_tables[FINOPS].fields, TableField(name="RecId", type=FieldType.INT64))
    found = spoiled.component("finops_tables", FINOPS, fields=fields)
    assert only(found) == ("field_of_system", FINOPS_FILE, len(fields), "RecId")


@pytest.mark.parametrize(
    ("field", "code"),
    [
        (TableField(name="x", type=FieldType.ENUM), "enum_unknown"),
        (TableField(name="x", type=FieldType.ENUM, enum="NoSuchEnum"), "enum_unknown"),
        (TableField(name="x", type=FieldType.STRING, enum="NoYes"), "enum_unknown"),
        (TableField(name="x", type=FieldType.STRING, number_sequence="NoSuch"), "number_sequence_unknown"),
    ],
)
def test_finops_field_incomplete(spoiled: Spoiled, field: TableField, code: str) -> None:
    fields = (*spoiled.catalog.finops_tables[FINOPS].fields, field)
    found = spoiled.component("finops_tables", FINOPS, fields=fields)
    assert only(found) == (code, FINOPS_FILE, len(fields), "x")


def test_index_of_unknown_field(spoiled: Spoiled) -> None:
    found = spoiled.component("finops_tables", FINOPS, indexes=(("NotHere",),))
    assert only(found) == ("index_field_unknown", FINOPS_FILE, None, "NotHere")


@pytest.mark.parametrize("members", [(), (Member(0, "a"), Member(0, "b")), (Member(0, "a"), Member(1, "A"))])
def test_enum_unclear(spoiled: Spoiled, members: tuple[Member, ...]) -> None:
    enums = {**spoiled.catalog.enums, "Fresh": Enum("Fresh", members)}
    assert only(spoiled.catalog_with(enums=enums))[:2] == ("enum_unclear", "choices/Fresh.toml")


@pytest.mark.parametrize(("field", "value"), [("collection", "customersv3"), ("public_name", "CUSTOMERV3")])
def test_public_name_twice(spoiled: Spoiled, field: str, value: str) -> None:
    found = spoiled.component("entities", ENTITY, **{field: value})
    assert ("name_twice", value.lower()) in [(f.code, f.field.lower()) for f in found.faults]


def test_entity_field_twice(spoiled: Spoiled) -> None:
    fields = spoiled.catalog.entities[ENTITY].fields
    found = spoiled.component("entities", ENTITY, fields=(*fields, fields[0]))
    assert ("name_twice", len(fields) + 1) in [(f.code, f.row) for f in found.faults]


@pytest.mark.parametrize(
    "source",
    [
        DataSource(name="More", table="NoSuchTable", parent="Currency", on=(("RecId", "RecId"),)),
        DataSource(name="More", table="Currency", parent="Nobody", on=(("RecId", "RecId"),)),
        DataSource(name="More", table="Currency", parent="Currency"),
        DataSource(name="More", table="Currency", parent="Currency", on=(("NotHere", "RecId"),)),
        DataSource(name="More", table="Currency", parent="Currency", on=(("RecId", "NotHere"),)),
        DataSource(name="More", table="Currency", parent="Currency", on=(("RecId", "RecId"),), fixed={"NotHere": 1}),
        DataSource(name="Currency", table="Currency", parent="Currency", on=(("RecId", "RecId"),)),
    ],
)
def test_data_source_unclear(spoiled: Spoiled, source: DataSource) -> None:
    root = spoiled.catalog.entities[ENTITY].root
    found = spoiled.component("entities", ENTITY, data_sources=(root, source))
    assert only(found) == ("data_source_unclear", ENTITY_FILE, 2, source.name)


def test_root_is_joined(spoiled: Spoiled) -> None:
    root = msgspec.structs.replace(spoiled.catalog.entities[ENTITY].root, on=(("RecId", "RecId"),))
    found = spoiled.component("entities", ENTITY, data_sources=(root,))
    assert only(found) == ("data_source_unclear", ENTITY_FILE, 1, "Currency")


def test_table_of_another_kind(spoiled: Spoiled) -> None:
    found = spoiled.component("finops_tables", FINOPS, company_specific=True)
    assert only(found) == ("data_source_unclear", ENTITY_FILE, 1, "Currency")


@pytest.mark.parametrize("change", [{"source": "Nobody"}, {"field": "NotHere"}, {"type": FieldType.GUID}])
def test_field_unbound(spoiled: Spoiled, change: dict[str, Any]) -> None:
    entity = spoiled.catalog.entities[ENTITY]
    row, name = len(entity.fields), entity.fields[-1].name
    fields = (*entity.fields[:-1], msgspec.structs.replace(entity.fields[-1], **change))
    found = spoiled.component("entities", ENTITY, fields=fields)
    assert only(found) == ("field_unbound", ENTITY_FILE, row, name)


@pytest.mark.parametrize("keys", [("CurrencyCode", "NotHere"), ("CurrencyCode", "dataAreaId")])
def test_entity_key_unknown(spoiled: Spoiled, keys: tuple[str, ...]) -> None:
    found = spoiled.component("entities", ENTITY, keys=keys)
    assert {(f.code, f.field) for f in found.faults} >= {("entity_key_unknown", keys[1])}


@pytest.mark.parametrize(("entity", "theirs"), [("NoSuchEntity", "CurrencyCode"), ("CurrencyEntity", "NotHere")])
def test_relation_unclear(spoiled: Spoiled, entity: str, theirs: str) -> None:
    relation = EntityRelation(name="Other", entity=entity, many=False, on=(("CurrencyCode", theirs),))
    found = spoiled.component("entities", ENTITY, relations=(relation,))
    assert only(found)[:3] == ("relation_unclear", ENTITY_FILE, 1)


def test_relation_of_two_entities(spoiled: Spoiled) -> None:
    entity: Entity = spoiled.catalog.entities[ENTITY]
    twin = msgspec.structs.replace(entity, aot_name="CURRENCY", collection="Twins", public_name="Twin")
    found = spoiled.catalog_with(entities={**spoiled.catalog.entities, "CURRENCY": twin})
    assert ("name_twice", "currency") in [(f.code, f.field) for f in found.faults]
