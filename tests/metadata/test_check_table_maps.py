"""Each rule for table maps is broken once in the shipped definitions, and exactly that is reported."""

from __future__ import annotations

import msgspec
import pytest
from tests.support.spoiled import ACCOUNTS, ACCOUNTS_FILE, Spoiled, check, only

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import Example, FieldMapping, Transform

GROUPS = "msdyn_customergroups - Customer groups"
GROUPS_FILE = "finance/table_maps/CustomerGroups-customergroups.toml"


def test_shipped_definitions_have_no_fault(catalog: Catalog) -> None:
    found = check(catalog)
    assert found.faults == ()
    assert "135 maps, 1,635 rows, 0 faults" in found.text
    assert [(w.code, w.field) for w in found.warnings] == [
        ("value_map_symbol", "PaymentStatus"),
        ("value_map_symbol", "WorkerType"),
    ]


def test_counts(catalog: Catalog) -> None:
    counts = check(catalog).counts
    assert (counts["Dataverse tables"], counts["data entities"]) == (193, 248)


def test_entity_missing(spoiled: Spoiled) -> None:
    assert only(spoiled.table_map_with(entity="NoSuchEntity")) == ("DIPV1018", ACCOUNTS_FILE, None, "NoSuchEntity")


def test_table_missing(spoiled: Spoiled) -> None:
    assert only(spoiled.table_map_with(table="nosuchtable")) == ("DIPV1020", ACCOUNTS_FILE, None, "nosuchtable")


def test_no_versionnumber(spoiled: Spoiled) -> None:
    table = spoiled.catalog.tables["msdyn_customergroup"]
    columns = tuple(column for column in table.columns if column.name != "versionnumber")
    found = spoiled.component("tables", table.logical_name, columns=columns)
    assert only(found) == ("DIPV1019", GROUPS_FILE, None, "msdyn_customergroup")


def test_company_specific_with_global(spoiled: Spoiled) -> None:
    tables = {**spoiled.catalog.tables}
    group = tables["msdyn_shipvia"]
    key = msgspec.structs.replace(group.keys[0], columns=("msdyn_name",))
    tables["msdyn_shipvia"] = msgspec.structs.replace(group, company_column=None, keys=(key,))
    name = next(m.name for m in spoiled.catalog.table_maps.values() if m.table == "msdyn_shipvia")
    changed = msgspec.structs.replace(spoiled.table_map(name), integration_key=("msdyn_name",))
    found = spoiled.catalog_with(tables=tables, table_maps={**spoiled.catalog.table_maps, name: changed})
    assert only(found)[0] == "DIPV1002"


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (FieldMapping(finops=None, arrow="=", dataverse="description", row=9), "DIPV1024"),
        (FieldMapping(finops=None, arrow=">", dataverse="description", row=9), "DIPV1021"),
        (FieldMapping(finops="SALESMEMO", arrow="=", dataverse=None, row=9), "DIPV1024"),
        (FieldMapping(finops="SALESMEMO", arrow="<", dataverse=None, row=9), "DIPV1021"),
        (FieldMapping(finops=None, arrow="=", dataverse=None, row=9), "DIPV1024"),
    ],
)
def test_row_without_an_end(spoiled: Spoiled, row: FieldMapping, code: str) -> None:
    rows = tuple(r for r in spoiled.table_map().rows if r.finops != "SALESMEMO")
    assert only(spoiled.table_map_with(rows=(*rows, row)))[:3] == (code, ACCOUNTS_FILE, 9)


def test_source_field_unknown(spoiled: Spoiled) -> None:
    assert only(spoiled.row("SALESMEMO", finops="NOTHERE")) == ("DIPV1022", ACCOUNTS_FILE, 4, "NOTHERE")


def test_destination_field_unknown(spoiled: Spoiled) -> None:
    found = spoiled.row("SALESMEMO", finops="NOTHERE", arrow="<")
    assert only(found) == ("DIPV1025", ACCOUNTS_FILE, 4, "NOTHERE")


@pytest.mark.parametrize("path", ["nothere", "msdyn_customergroupid.nothere", "customerid.Account(nothere)"])
def test_destination_column_unknown(spoiled: Spoiled, path: str) -> None:
    assert only(spoiled.row("SALESMEMO", dataverse=path)) == ("DIPV1025", ACCOUNTS_FILE, 4, path)


def test_source_column_unknown(spoiled: Spoiled) -> None:
    found = spoiled.row("SALESMEMO", dataverse="nothere", arrow="<")
    assert only(found) == ("DIPV1022", ACCOUNTS_FILE, 4, "nothere")


def test_arrow_without_its_transform(spoiled: Spoiled) -> None:
    assert only(spoiled.row("SALESMEMO", arrow="><")) == ("arrow_unclear", ACCOUNTS_FILE, 4, "SALESMEMO")
    assert only(spoiled.row("ISONETIMECUSTOMER", arrow="="))[:3] == ("arrow_unclear", ACCOUNTS_FILE, 10)


def test_value_map_and_default(spoiled: Spoiled) -> None:
    transform = msgspec.structs.replace(
        next(r for r in spoiled.table_map().rows if r.finops == "ISONETIMECUSTOMER").transform, default="false"
    )
    assert only(spoiled.row("ISONETIMECUSTOMER", transform=transform))[:3] == ("arrow_unclear", ACCOUNTS_FILE, 10)


def test_column_written_twice(spoiled: Spoiled) -> None:
    row = FieldMapping(finops="CREDITRATING", arrow=">", dataverse="description", row=26)
    found = spoiled.table_map_with(rows=(*spoiled.table_map().rows, row))
    assert [(f.code, f.row) for f in found.faults] == [("DIPV1026", 4), ("DIPV1026", 26)]


def test_field_written_twice(spoiled: Spoiled) -> None:
    row = FieldMapping(finops="SALESMEMO", arrow="<", dataverse="websiteurl", row=26)
    found = spoiled.table_map_with(rows=(*spoiled.table_map().rows, row))
    assert [(f.code, f.row) for f in found.faults] == [("DIPV1023", 4), ("DIPV1023", 26)]


def test_read_only_column_written(spoiled: Spoiled) -> None:
    found = spoiled.row("SALESMEMO", dataverse="createdon", finops="ADDRESSVALIDFROM")
    assert only(found) == ("DIPV1011", ACCOUNTS_FILE, 4, "createdon")


def test_read_only_field_written(spoiled: Spoiled) -> None:
    found = spoiled.row("SALESMEMO", finops="FULLPRIMARYADDRESS")
    assert only(found) == ("DIPV1011", ACCOUNTS_FILE, 4, "FullPrimaryAddress")


def test_read_only_entity_written(spoiled: Spoiled) -> None:
    entity = spoiled.table_map(GROUPS).entity
    assert only(spoiled.component("entities", entity, read_only=True)) == ("DIPV1011", GROUPS_FILE, None, entity)


def test_required_column_not_mapped(spoiled: Spoiled) -> None:
    name = "transactioncurrencies - Currencies"
    found = spoiled.without_row("SYMBOL", name=name)
    assert only(found) == (
        "DIPV1010", "application_core/table_maps/Currencies-transactioncurrencies.toml", None, "currencysymbol"
    )  # fmt: skip


def test_mandatory_field_not_mapped(spoiled: Spoiled) -> None:
    assert only(spoiled.without_row("SALESCURRENCYCODE")) == ("DIPV1031", ACCOUNTS_FILE, None, "SalesCurrencyCode")


def test_integration_key_is_no_alternate_key(spoiled: Spoiled) -> None:
    found = spoiled.table_map_with(GROUPS, integration_key=("msdyn_description", "msdyn_company.cdm_companycode"))
    assert only(found)[:2] == ("DIPV1003", GROUPS_FILE)


def test_integration_key_unknown(spoiled: Spoiled) -> None:
    found = spoiled.table_map_with(GROUPS, integration_key=("msdyn_groupid", "msdyn_company.nothere"))
    assert only(found) == ("DIPV1003", GROUPS_FILE, None, "msdyn_company.nothere")


def test_no_integration_key(spoiled: Spoiled) -> None:
    assert only(spoiled.table_map_with(GROUPS, integration_key=()))[:2] == ("DIPV1003", GROUPS_FILE)


def test_key_column_not_mapped(spoiled: Spoiled) -> None:
    found = spoiled.without_row("CUSTOMERGROUPID", name=GROUPS)
    assert {(f.code, f.field) for f in found.faults} == {
        ("DIPV1014", "msdyn_groupid"),
        ("DIPV1003", "CustomerGroupId"),
        ("DIPV1031", "CustomerGroupId"),
    }


def test_lookup_of_the_key_not_mapped(spoiled: Spoiled) -> None:
    name = "msdyn_partypostaladdresses - CDS Party postal address locations"
    found = spoiled.row("LOCATIONID", name=name, arrow="<")
    assert ("DIPV1015", "msdyn_postaladdresscollectionid.msdyn_location") in {(f.code, f.field) for f in found.faults}


def test_key_goes_one_way(spoiled: Spoiled) -> None:
    found = spoiled.row("CUSTOMERACCOUNT", arrow=">")
    assert only(found) == ("DIPV1004", ACCOUNTS_FILE, 1, "accountnumber")


def test_entity_key_not_brought(spoiled: Spoiled) -> None:
    entity = spoiled.catalog.entities["CustCustomerV3Entity"]
    fields = tuple(
        msgspec.structs.replace(field, number_sequence=None) if field.name == "CustomerAccount" else field
        for field in entity.fields
    )
    entities = {**spoiled.catalog.entities, entity.aot_name: msgspec.structs.replace(entity, fields=fields)}
    table_map = spoiled.table_map()
    rows = tuple(
        msgspec.structs.replace(row, finops="CREDITRATING") if row.row == 1 else row
        for row in table_map.rows
        if row.finops != "CREDITRATING"
    )
    maps = {**spoiled.catalog.table_maps, ACCOUNTS: msgspec.structs.replace(table_map, rows=rows)}
    assert only(spoiled.catalog_with(entities=entities, table_maps=maps))[::3] == ("DIPV1003", "CustomerAccount")


def test_lookup_by_no_key(spoiled: Spoiled) -> None:
    found = spoiled.row("CUSTOMERGROUPID", dataverse="msdyn_customergroupid.msdyn_description")
    assert only(found) == ("DIPV1015", ACCOUNTS_FILE, 7, "msdyn_customergroupid")


@pytest.mark.parametrize(("arrow", "code"), [("=", "DIPV1027"), ("<", "DIPV1028")])
def test_lookup_of_a_table_without_key(spoiled: Spoiled, arrow: str, code: str) -> None:
    tables = {**spoiled.catalog.tables}
    tables["lead"] = msgspec.structs.replace(tables["lead"], keys=())
    rows = tuple(
        msgspec.structs.replace(row, dataverse="originatingleadid.subject", arrow=arrow) if row.row == 4 else row
        for row in spoiled.table_map().rows
    )
    maps = {**spoiled.catalog.table_maps, ACCOUNTS: msgspec.structs.replace(spoiled.table_map(), rows=rows)}
    found = spoiled.catalog_with(tables=tables, table_maps=maps)
    assert (code, ACCOUNTS_FILE, 4, "originatingleadid") in [(f.code, f.file, f.row, f.field) for f in found.faults]


@pytest.mark.parametrize("column", ["revenue", "lastonholdtime", "customertypecode", "creditonhold"])
def test_types_differ(spoiled: Spoiled, column: str) -> None:
    rows = tuple(
        msgspec.structs.replace(row, dataverse=column) if row.row == 4 else row
        for row in spoiled.table_map().rows
        if row.dataverse != column
    )
    assert only(spoiled.table_map_with(rows=rows)) == ("DIPV1030", ACCOUNTS_FILE, 4, "SalesMemo")


def test_value_map_between_numbers(spoiled: Spoiled) -> None:
    transform = Transform(value_map={"1": "2"})
    assert only(spoiled.row("CREDITLIMIT", arrow="><", transform=transform))[:3] == ("DIPV1030", ACCOUNTS_FILE, 2)


@pytest.mark.parametrize("value_map", [{"No": "false", "Yes": "false"}, {"No": "false", "no": "true"}])
def test_value_twice(spoiled: Spoiled, value_map: dict[str, str]) -> None:
    found = spoiled.row("ISONETIMECUSTOMER", transform=Transform(value_map=value_map))
    assert only(found) == ("DIPV1029", ACCOUNTS_FILE, 10, "ISONETIMECUSTOMER")


def test_many_values_to_one_is_legal_one_way(spoiled: Spoiled) -> None:
    transform = Transform(value_map={"No": "false", "Yes": "false"})
    assert spoiled.row("ISONETIMECUSTOMER", arrow=">>", transform=transform).faults == ()


@pytest.mark.parametrize(
    ("field", "row", "column"),
    [("ONHOLDSTATUS", 11, "msdyn_onholdstatus"), ("ISONETIMECUSTOMER", 10, "msdyn_onetimecustomer")],
)
def test_option_unknown(spoiled: Spoiled, field: str, row: int, column: str) -> None:
    found = spoiled.row(field, transform=Transform(value_map={"No": "7"}))
    assert only(found) == ("DIPV1030", ACCOUNTS_FILE, row, column)


def test_default_is_no_option(spoiled: Spoiled) -> None:
    found = spoiled.row(None, transform=Transform(default="99"))
    assert only(found) == ("DIPV1030", ACCOUNTS_FILE, 21, "customertypecode")


def test_default_is_no_member(spoiled: Spoiled) -> None:
    found = spoiled.row("PARTYTYPE", finops="ONHOLDSTATUS", transform=Transform(default="Perhaps"))
    assert ("DIPV1030", ACCOUNTS_FILE, 22, "OnHoldStatus") in [(f.code, f.file, f.row, f.field) for f in found.faults]


def test_symbol_unknown_is_a_warning(spoiled: Spoiled) -> None:
    transform = Transform(value_map={"No": "false", "Yes": "true", "Perhaps": "true"})
    found = spoiled.row("ISONETIMECUSTOMER", arrow=">>", transform=transform)
    assert found.faults == ()
    assert ("value_map_symbol", 10) in [(w.code, w.row) for w in found.warnings]


@pytest.mark.parametrize("text", ['((PartyType == "Organization")', '(NotHere == "x")'])
def test_finops_filter_illegal(spoiled: Spoiled, text: str) -> None:
    assert only(spoiled.table_map_with(finops_filter=text)) == ("900", ACCOUNTS_FILE, None, "finops_filter")


@pytest.mark.parametrize("text", ["customertypecode eq", "nothere eq 3"])
def test_dataverse_filter_illegal(spoiled: Spoiled, text: str) -> None:
    assert only(spoiled.table_map_with(dataverse_filter=text)) == ("DIPV1012", ACCOUNTS_FILE, None, "dataverse_filter")


@pytest.mark.parametrize(
    "example",
    [
        Example(finops={"CustomerAccount": "1"}, dataverse={"accountnumber": "1"}, to="nowhere"),
        Example(finops={"CustomerAccount": "1"}),
        Example(finops={"NotHere": "1"}, dataverse={"accountnumber": "1"}),
        Example(finops={"CustomerAccount": "1"}, dataverse={"nothere": "1"}),
    ],
)
def test_example_unclear(spoiled: Spoiled, example: Example) -> None:
    assert only(spoiled.table_map_with(examples=(example,))) == ("example_unclear", ACCOUNTS_FILE, 1, "examples")
