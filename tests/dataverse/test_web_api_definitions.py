"""Definitions over HTTP: the service document, `$metadata`, EntityDefinitions, functions."""

from __future__ import annotations

from uuid import UUID

import pytest
from lxml import etree
from tests.dataverse.conftest import Served

from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.webapi.csdl import EDM
from isthmus.metadata.catalog import Catalog


async def test_the_service_document_lists_all_sets(api: Served, catalog: Catalog) -> None:
    body = (await api("GET", "")).json()
    assert {"name": "accounts", "kind": "EntitySet", "url": "accounts"} in body["value"]
    assert len(body["value"]) == len(catalog.tables)


async def test_the_metadata_document_is_complete_and_consistent(api: Served, catalog: Catalog) -> None:
    answer = await api("GET", "$metadata")
    assert answer.headers["content-type"] == "application/xml"
    root = etree.fromstring(answer.content)
    types = {element.get("Name"): element for element in root.iter(f"{{{EDM}}}EntityType")}
    sets = {element.get("Name"): element for element in root.iter(f"{{{EDM}}}EntitySet")}
    assert types.keys() == {*catalog.tables, "crmbaseentity"}
    for name, element in types.items():
        properties = {part.get("Name") for part in element.iter(f"{{{EDM}}}Property")}
        names = [
            part.get("Name") for part in element if part.tag in (f"{{{EDM}}}Property", f"{{{EDM}}}NavigationProperty")
        ]
        assert len(names) == len(set(names)), name
        for reference in element.iter(f"{{{EDM}}}PropertyRef"):
            assert reference.get("Name") in properties
        for constraint in element.iter(f"{{{EDM}}}ReferentialConstraint"):
            assert constraint.get("Property") in properties
        for navigation in element.iter(f"{{{EDM}}}NavigationProperty"):
            target = types[navigation.get("Type").removeprefix("Collection(").rstrip(")").removeprefix("mscrm.")]
            partners = {part.get("Name") for part in target.iter(f"{{{EDM}}}NavigationProperty")}
            assert navigation.get("Partner") in partners, (name, navigation.get("Name"))
    for binding in root.iter(f"{{{EDM}}}NavigationPropertyBinding"):
        assert binding.get("Target") in sets


async def test_who_am_i_and_version(api: Served, app: DataverseApp) -> None:
    for form in ("WhoAmI", "WhoAmI()", "Microsoft.Dynamics.CRM.WhoAmI()"):
        body = (await api("GET", form)).json()
        user = await api("GET", f"systemusers({body['UserId']})?$select=fullname")
        assert user.json()["fullname"] == "Test user"
        assert UUID(body["OrganizationId"])
        assert UUID(body["BusinessUnitId"])
    assert (await api("GET", "RetrieveVersion()")).json()["Version"].startswith("9.2.")
    assert (await api("GET", "RetrieveAvailableLanguages")).json()["LocaleIds"] == [1033]


async def test_a_table_is_found_by_name_id_and_filter(api: Served) -> None:
    found = await api(
        "GET", "EntityDefinitions?$select=LogicalName,EntitySetName,PrimaryIdAttribute&$filter=LogicalName eq 'account'"
    )
    (table,) = found.json()["value"]
    assert table.keys() == {"LogicalName", "EntitySetName", "PrimaryIdAttribute", "MetadataId"}
    assert (table["EntitySetName"], table["PrimaryIdAttribute"]) == ("accounts", "accountid")
    for path in (f"EntityDefinitions({table['MetadataId']})", "entitydefinitions(LogicalName='account')"):
        assert (await api("GET", path)).json()["SchemaName"] == "Account"
    assert (await api("GET", "EntityDefinitions(LogicalName='nosuch')")).status_code == 404
    assert (await api("GET", f"EntityDefinitions({UUID(int=1)})")).status_code == 404


async def test_columns_are_read_with_their_options(api: Served) -> None:
    base = "EntityDefinitions(LogicalName='account')"
    attributes = (await api("GET", f"{base}/Attributes")).json()["value"]
    by_name = {attribute["LogicalName"]: attribute for attribute in attributes}
    assert by_name["name"]["@odata.type"] == "#Microsoft.Dynamics.CRM.StringAttributeMetadata"
    assert by_name["name"]["MaxLength"] == 160
    assert "OptionSet" not in by_name["industrycode"]
    cast = "Microsoft.Dynamics.CRM.PicklistAttributeMetadata"
    picklists = (
        await api("GET", f"{base}/Attributes/{cast}?$select=LogicalName&$expand=OptionSet($select=Options)")
    ).json()["value"]
    industry = next(item for item in picklists if item["LogicalName"] == "industrycode")
    assert industry["OptionSet"]["Options"][0]["Label"]["UserLocalizedLabel"]["Label"] == "Accounting"
    assert all(item["@odata.type"].endswith("PicklistAttributeMetadata") for item in picklists)
    one = await api("GET", f"{base}/Attributes(LogicalName='industrycode')/{cast}?$expand=OptionSet")
    assert one.json()["OptionSet"]["OptionSetType"] == "Picklist"
    crm = "Microsoft.Dynamics.CRM"
    path = f"{base}/Attributes(LogicalName='statuscode')/{crm}.StatusAttributeMetadata?$expand=OptionSet"
    assert [option["State"] for option in (await api("GET", path)).json()["OptionSet"]["Options"]] == [0, 1]
    path = f"{base}/Attributes(LogicalName='donotemail')/{crm}.BooleanAttributeMetadata?$expand=OptionSet"
    assert (await api("GET", path)).json()["OptionSet"]["TrueOption"]["Value"] == 1
    by_id = await api("GET", f"{base}/Attributes({by_name['name']['MetadataId']})")
    assert by_id.json()["LogicalName"] == "name"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("AttributeType eq Microsoft.Dynamics.CRM.AttributeTypeCode'State'", ["statecode"]),
        ("AttributeType eq 'State'", ["statecode"]),
        ("startswith(LogicalName,'telephone')", ["telephone1", "telephone2", "telephone3"]),
        ("IsPrimaryId eq true or IsPrimaryName eq true", ["accountid", "name"]),
        (
            "RequiredLevel/Value eq 'SystemRequired' and AttributeType ne 'Virtual' and not(IsPrimaryId eq true)",
            ["ownerid", "statecode"],
        ),
        ("MaxLength gt 1500 and LogicalName in ('name','description')", ["description"]),
    ],
)
async def test_definitions_are_filtered(api: Served, condition: str, expected: list[str]) -> None:
    path = f"EntityDefinitions(LogicalName='account')/Attributes?$select=LogicalName&$filter={condition}"
    answer = await api("GET", path)
    assert sorted(item["LogicalName"] for item in answer.json()["value"]) == expected, answer.text


async def test_keys_and_relationships_are_read(api: Served) -> None:
    base = "EntityDefinitions(LogicalName='account')"
    (key,) = (await api("GET", f"{base}/Keys")).json()["value"]
    assert (key["KeyAttributes"], key["EntityKeyIndexStatus"]) == (["accountnumber", "msdyn_company"], "Active")
    expand = "Keys($select=SchemaName),Attributes($select=LogicalName;$filter=LogicalName eq 'name')"
    expanded = (await api("GET", f"{base}?$select=LogicalName&$expand={expand}")).json()
    assert [key["SchemaName"] for key in expanded["Keys"]] == ["account_key"]
    assert [item["LogicalName"] for item in expanded["Attributes"]] == ["name"]
    many = (await api("GET", f"{base}/OneToManyRelationships?$filter=SchemaName eq 'contact_customer_accounts'")).json()
    assert many["value"][0]["CascadeConfiguration"]["Delete"] == "Cascade"
    assert (await api("GET", f"{base}/ManyToManyRelationships")).json()["value"] == []
    found = await api("GET", "RelationshipDefinitions?$filter=SchemaName eq 'contact_customer_accounts'")
    (relationship,) = found.json()["value"]
    assert relationship["@odata.type"] == "#Microsoft.Dynamics.CRM.OneToManyRelationshipMetadata"
    again = await api("GET", f"RelationshipDefinitions({relationship['MetadataId']})")
    assert again.json()["ReferencingEntityNavigationPropertyName"] == "parentcustomerid_account"
    assert (await api("GET", "GlobalOptionSetDefinitions")).json()["value"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("EntityDefinitions?$filter=NoSuch eq 1", 400),
        ("EntityDefinitions?$filter=(", 400),
        ("EntityDefinitions?$expand=NoSuch", 400),
        ("EntityDefinitions(LogicalName='account')/NoSuch", 404),
        ("EntityDefinitions(LogicalName='account')/Attributes(LogicalName='nosuch')", 404),
        ("WhoAmI/x", 404),
    ],
)
async def test_what_is_not_there_is_said_so(api: Served, path: str, status: int) -> None:
    answer = await api("GET", path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


async def test_definitions_are_read_only_here(api: Served) -> None:
    assert (await api("POST", "EntityDefinitions", {})).status_code == 405
