"""Records as they go over the wire: JSON of every kind of column, annotations, expanded rows."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from tests.query.sample_relations import ENTITIES, TABLES, account_id, column, contact_id, relation

from isthmus.query.model import Kind
from isthmus.query.planner import Planner
from isthmus.query.record_json import WireOptions

DATAVERSE = Planner(TABLES, "dataverse")
FINOPS = Planner(ENTITIES, "finops")
PLAIN = WireOptions()
ANNOTATED = WireOptions(formatted_values=True, lookup_logical_names=True, associated_navigations=True)


async def one_account(
    sample: asyncpg.Connection, number: int, query: str = "", wire: WireOptions = PLAIN
) -> dict[str, Any]:
    asked = DATAVERSE.ask_one("account", {"accountid": account_id(number)}, query, wire)
    text = await sample.fetchval(asked.sql, *asked.arguments)
    return json.loads(text, parse_float=Decimal)


async def test_every_kind_of_column(sample: asyncpg.Connection) -> None:
    assert await one_account(sample, 1) == {
        "@odata.etag": 'W/"7"',
        "accountid": str(account_id(1)),
        "name": "Contoso",
        "revenue": Decimal("1000.5000"),
        "numberofemployees": 10,
        "creditonhold": True,
        "createdon": "2024-02-29T23:30:15Z",
        "opendate": "2024-02-29",
        "statecode": 0,
        "categories": "1,2",
        "score": Decimal("1.5"),
        "_primarycontactid_value": str(contact_id(1)),
        "_parentaccountid_value": None,
        "_ownerid_value": str(contact_id(2)),
        "entityimage": "AP8Q",
        "versionnumber": 7,
    }


async def test_decimals_are_shown_with_their_scale(sample: asyncpg.Connection) -> None:
    asked = DATAVERSE.ask("account", "$select=revenue&$orderby=accountid")
    shown = [row[0].split('"revenue":')[1].split(",")[0] for row in await sample.fetch(asked.sql, *asked.arguments)]
    assert shown == ["1000.5000", "2000.0000", "0.0000", "-5.2500", "null", "123456.7891"]


async def test_absent_values_are_null(sample: asyncpg.Connection) -> None:
    record = await one_account(sample, 5, wire=ANNOTATED)
    del record["@odata.etag"], record["accountid"], record["versionnumber"]
    assert record.pop("versionnumber@OData.Community.Display.V1.FormattedValue") == "7"
    assert {key for key, value in record.items() if value is not None} == {
        "_parentaccountid_value",
        "_parentaccountid_value@OData.Community.Display.V1.FormattedValue",
        "_parentaccountid_value@Microsoft.Dynamics.CRM.lookuplogicalname",
        "_parentaccountid_value@Microsoft.Dynamics.CRM.associatednavigationproperty",
    }
    assert (await one_account(sample, 3))["categories"] is None


async def test_text_is_escaped(sample: asyncpg.Connection) -> None:
    assert (await one_account(sample, 6))["name"] == '  Ärger "o\'clock" '
    assert (await one_account(sample, 4))["name"] == "100%_sure [x]\\*?"


async def test_annotations(sample: asyncpg.Connection) -> None:
    formatted = "@OData.Community.Display.V1.FormattedValue"
    record = await one_account(sample, 1, wire=ANNOTATED)
    shown = {key.removesuffix(formatted): value for key, value in record.items() if key.endswith(formatted)}
    assert shown == {
        "revenue": "1,000.5000",
        "numberofemployees": "10",
        "creditonhold": "On hold",
        "createdon": "2/29/2024 11:30 PM",
        "opendate": "2/29/2024",
        "statecode": "Active",
        "categories": "Retail; Whole, sale",
        "score": "1.50",
        "_primarycontactid_value": "Ann Beebe",
        "_ownerid_value": "bob",
        "versionnumber": "7",
    }
    assert record["_ownerid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "contact"
    assert record["_ownerid_value@Microsoft.Dynamics.CRM.associatednavigationproperty"] == "ownerid_contact"
    assert record["_primarycontactid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "contact"
    assert record["_primarycontactid_value@Microsoft.Dynamics.CRM.associatednavigationproperty"] == "primarycontactid"
    other = await one_account(sample, 2, wire=ANNOTATED)
    assert other["_ownerid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "account"
    assert other[f"_ownerid_value{formatted}"] == "Contoso"
    assert other[f"categories{formatted}"] == 'The "best"'
    assert (await one_account(sample, 6, wire=ANNOTATED))[f"revenue{formatted}"] == "123,456.7891"


async def test_each_annotation_by_itself(sample: asyncpg.Connection) -> None:
    query = "$select=_primarycontactid_value"
    for option, name in (
        ("formatted_values", "OData.Community.Display.V1.FormattedValue"),
        ("lookup_logical_names", "Microsoft.Dynamics.CRM.lookuplogicalname"),
        ("associated_navigations", "Microsoft.Dynamics.CRM.associatednavigationproperty"),
    ):
        record = await one_account(sample, 1, query, WireOptions(**{option: True}))
        assert [key for key in record if "_value@" in key] == [f"_primarycontactid_value@{name}"]


async def test_selected_columns_in_their_order_and_the_key(sample: asyncpg.Connection) -> None:
    record = await one_account(sample, 1, "$select=REVENUE,name,revenue")
    assert list(record) == ["@odata.etag", "revenue", "name", "accountid"]
    record = await one_account(sample, 1, "$select=name", WireOptions(key=False))
    assert list(record) == ["@odata.etag", "name"]


async def test_expanded_rows(sample: asyncpg.Connection) -> None:
    query = (
        "$select=name&$expand=primarycontactid($select=fullname;$expand=parentcustomerid($select=name)),"
        "contact_customer_accounts($select=fullname;$orderby=fullname desc;$top=1;$count=true),"
        "account_parent_account($select=name;$filter=revenue gt 0),visitors($select=fullname)"
    )
    record = await one_account(sample, 1, query)
    assert record["primarycontactid"]["fullname"] == "Ann Beebe"
    assert record["primarycontactid"]["parentcustomerid"]["name"] == "Contoso"
    assert record["primarycontactid"]["parentcustomerid"]["@odata.etag"] == 'W/"7"'
    assert [row["fullname"] for row in record["contact_customer_accounts"]] == ["bob"]
    assert record["contact_customer_accounts@odata.count"] == 2
    assert [row["name"] for row in record["account_parent_account"]] == ["Fabrikam, Inc."]
    assert [row["fullname"] for row in record["visitors"]] == ["bob", None]
    alone = await one_account(sample, 4, query)
    assert alone["primarycontactid"] is None
    assert alone["contact_customer_accounts"] == []


async def test_polymorphic_expand(sample: asyncpg.Connection) -> None:
    query = "$select=name&$expand=ownerid_account($select=name),ownerid_contact($select=fullname)"
    record = await one_account(sample, 2, query)
    assert record["ownerid_account"]["name"] == "Contoso"
    assert record["ownerid_contact"] is None


async def test_finops_knows_no_null(sample: asyncpg.Connection) -> None:
    asked = FINOPS.ask("Customer", "$filter=CustomerAccount eq 'US-003'", WireOptions(key=False))
    assert json.loads(await sample.fetchval(asked.sql, *asked.arguments)) == {
        "dataAreaId": "usmf",
        "CustomerAccount": "US-003",
        "OrganizationName": "",
        "CreditLimit": 0,
        "Since": "1900-01-01T12:00:00Z",
        "Changed": "1900-01-01T00:00:00Z",
        "OnHoldStatus": "No",
        "IsOneTime": "No",
        "Visits": 0,
        "CustomerGroupId": "",
        "RowGuid": "00000000-0000-0000-0000-000000000000",
        "Flag": False,
        "Memo": "",
    }


async def test_finops_values(sample: asyncpg.Connection) -> None:
    query = "$select=Since,Changed,OnHoldStatus,CreditLimit&$filter=CustomerAccount eq 'us-001'&$expand=CustomerGroup"
    asked = FINOPS.ask("Customer", query, WireOptions(key=False), fixed={"dataareaid": "USMF"})
    (row,) = await sample.fetch(asked.sql, *asked.arguments)
    assert json.loads(row[0]) == {
        "Since": "2020-01-15T12:00:00Z",
        "Changed": "2024-05-06T07:08:09Z",
        "OnHoldStatus": "Invoice",
        "CreditLimit": 5000,
        "CustomerGroup": {"dataAreaId": "usmf", "GroupId": "10", "Description": "Whole"},
    }


async def test_context_names_what_was_selected() -> None:
    asked = DATAVERSE.ask("account", "$select=name&$expand=primarycontactid($select=fullname),visitors")
    assert asked.plan.select_list == "(name,primarycontactid(fullname),visitors())"
    assert DATAVERSE.ask("account", "$filter=name eq 'x'").plan.select_list == ""


@pytest.mark.parametrize("count", [1, 99, 250])
async def test_records_of_many_columns(sample: asyncpg.Connection, count: int) -> None:
    """PostgreSQL's functions take 100 arguments; tables have more columns."""
    columns = [column(f"c{number}", Kind.INTEGER) for number in range(count)]
    values = ", ".join(f"{number} as c{number}" for number in range(count))
    wide = relation("wide", columns, [], sql_name=f"(select {values})", key=("c0",))
    asked = Planner({"wide": wide}, "dataverse").ask("wide", "", ANNOTATED)
    record = json.loads(await sample.fetchval(asked.sql, *asked.arguments))
    assert [record[f"c{number}"] for number in range(count)] == list(range(count))
