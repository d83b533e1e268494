"""GET below /data."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from tests.finops.conftest import CUSTOMERS, TERMS, Create, Read, Served


@pytest.fixture
async def customer(new_customer: Create, read: Read) -> dict[str, Any]:
    recid = await new_customer(
        organizationname="Adventure Works",
        creditlimit=Decimal("2000.50"),
        addresscity="Bruges",
        onholdstatus="All",
        customergroupid="10",
    )
    return await read(CUSTOMERS, recid)


def address(record: dict[str, Any]) -> str:
    return f"CustomersV3(dataAreaId='{record['dataareaid']}',CustomerAccount='{record['customeraccount']}')"


async def test_the_service_document_lists_all_entity_sets(api: Served) -> None:
    document = await api.get("")
    assert document["@odata.context"] == f"{api.base}/$metadata"
    names = {entry["name"] for entry in document["value"]}
    assert {"CustomersV3", "VendorsV2", "CDSParties", "LegalEntities"} <= names
    assert len(names) == len(document["value"]) > 200


async def test_a_record_as_f_and_o_shows_it(api: Served, customer: dict[str, Any]) -> None:
    answer = await api("GET", address(customer))
    record = answer.json()
    assert record["@odata.context"] == f"{api.base}/$metadata#CustomersV3/$entity"
    assert record["@odata.etag"] == answer.headers["etag"]
    assert answer.headers["odata-version"] == "4.0"
    assert answer.headers["content-type"].startswith("application/json; odata.metadata=minimal")
    assert answer.headers["ms-dyn-aid"] == answer.headers["x-ms-request-id"]
    assert "main;dur=" in answer.headers["server-timing"]
    assert record["OrganizationName"] == "Adventure Works"
    assert record["CreditLimit"] == 2000.5
    assert record["OnHoldStatus"] == "All"
    assert record["InvoiceAddressStreet"] == "", "F&O has no null"
    assert record["InvoiceAddressValidFrom"] == "1900-01-01T00:00:00Z"
    assert record["CredManCustomerSince"] == "1900-01-01T12:00:00Z", "a date is shown at noon"
    assert record["PartyRecordId"] == customer["party_recid"], "a RecId is a number"
    assert None not in record.values()


@pytest.mark.parametrize(
    "form",
    [
        "CustomersV3(dataAreaId='usmf',CustomerAccount='{0}')",
        "CustomersV3(CustomerAccount='{0}',dataAreaId='USMF')",
        "customersv3(DATAAREAID='usmf',customeraccount='{0}')",
        "CustomersV3(CustomerAccount='{0}')",
        "CustomersV3(dataAreaId%3D%27usmf%27%2CCustomerAccount%3D%27{0}%27)",
        "../DATA/CustomersV3(dataAreaId='usmf', CustomerAccount='{0}')",
    ],
)
async def test_keys_in_any_order_case_and_encoding(api: Served, customer: dict[str, Any], form: str) -> None:
    path = form.format(customer["customeraccount"])
    base = api.base.removesuffix("/data")
    url = base + path[2:] if path.startswith("..") else f"{api.base}/{path}"
    answer = await api.client.get(f"{url}?$select=PartyNumber")
    assert answer.json()["PartyNumber"] == customer["partynumber"]


@pytest.mark.parametrize("name", ["O'Neil", "A/B (C), D", "ä=1&2", "100%"])
async def test_keys_with_odd_characters(api: Served, create: Create, name: str) -> None:
    await create(TERMS, dataareaid="usmf", name=name)
    for written in (name.replace("'", "''"), name):
        record = await api.get(f"PaymentTerms(dataAreaId='usmf',Name='{quote(written, safe='')}')?$select=Name")
        assert record["Name"] == name


async def test_a_single_key_needs_no_name(api: Served) -> None:
    assert (await api.get("Currencies('USD')"))["CurrencyCode"] == "USD"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("Nothing", 404),
        ("CustomersV3(dataAreaId='usmf',CustomerAccount='no')", 404),
        ("CustomersV3(dataAreaId='usmf')", 400),
        ("CustomersV3(dataAreaId='usmf',CustomerAccount='x',More='y')", 400),
        ("CustomersV3(dataAreaId='usmf',CustomerAccount='x')/Nothing", 404),
        ("CustomersV3/Nothing", 404),
        ("CustomersV3(", 400),
        ("CustomersV3?$filter=Nothing eq 1", 400),
        ("CustomersV3?$filter=CreditLimit eq 'x'", 400),
        ("CustomersV3?$filter=CreditLimit eq", 400),
        ("CustomersV3?$filter=CustomerAccount in ('a')", 400),
        ("CustomersV3?$apply=aggregate(CreditLimit with sum as S)", 400),
        ("CustomersV3?$skiptoken=nonsense", 400),
        ("CustomersV3?$expand=Nothing", 400),
    ],
)
async def test_addresses_that_lead_nowhere(api: Served, path: str, status: int) -> None:
    assert await api.refused("GET", path, status)


async def test_only_the_own_company_is_shown_unless_asked(api: Served, create: Create) -> None:
    await create(TERMS, dataareaid="usmf", name="Both")
    await create(TERMS, dataareaid="demf", name="Both")
    query = "PaymentTerms?$filter=Name eq 'both'&$select=dataAreaId,Name&$count=true"
    own = await api.get(query)
    assert [record["dataAreaId"] for record in own["value"]] == ["usmf"]
    assert own["@odata.count"] == 1
    everywhere = await api.get(f"{query}&cross-company=true")
    assert [record["dataAreaId"] for record in everywhere["value"]] == ["demf", "usmf"]
    assert everywhere["@odata.count"] == 2

    other = "PaymentTerms(dataAreaId='demf',Name='Both')"
    assert "cross-company=true" in await api.refused("GET", other, 404)
    assert (await api.get(f"{other}?cross-company=TRUE"))["dataAreaId"] == "demf"
    assert await api.refused("GET", f"{other}?cross-company=false", 404)


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ("OrganizationName eq 'ADVENTURE works'", True),
        ("OrganizationName eq '*venture*'", True),
        ("OrganizationName eq 'venture*'", False),
        ("contains(OrganizationName,'Works') and CreditLimit gt 2000", True),
        ("OnHoldStatus eq Microsoft.Dynamics.DataEntities.CustVendorBlocked'All'", True),
        ("OnHoldStatus ne Microsoft.Dynamics.DataEntities.CustVendorBlocked'All'", False),
        ("OnHoldStatus eq 'All'", True),
        ("InvoiceAddressStreet eq null", True),
        ("InvoiceAddressStreet ne ''", False),
        ("AddressCity eq 'bruges'", True),
        ("AddressValidFrom gt 2020-01-01T00:00:00Z", True),
        ("CredManCustomerSince eq 1900-01-01T12:00:00Z", True),
        ("dataAreaId eq 'usmf'", True),
    ],
)
async def test_filters(api: Served, customer: dict[str, Any], condition: str, matches: bool) -> None:
    both = f"CustomerAccount eq '{customer['customeraccount']}' and ({condition})"
    found = await api.get(f"CustomersV3?$filter={quote(both)}&$select=CustomerAccount")
    assert len(found["value"]) == matches


async def test_pages_follow_one_another(api: Served, create: Create) -> None:
    names = [f"Page{number}" for number in range(7)]
    for name in names:
        await create(TERMS, dataareaid="usmf", name=name)
    query = "PaymentTerms?$filter=startswith(Name,'Page')&$select=Name&$orderby=Name desc"
    first = await api.get(query, Prefer="odata.maxpagesize=3")
    seen = [record["Name"] for record in first["value"]]
    following = first["@odata.nextLink"]
    while following:
        assert following.startswith(f"{api.base}/PaymentTerms?")
        page = (await api.client.get(following, headers={"Prefer": "odata.maxpagesize=3"})).json()
        seen += [record["Name"] for record in page["value"]]
        following = page.get("@odata.nextLink")
    assert seen == names[::-1]

    some = await api.get(f"{query}&$top=2&$skip=1", Prefer="odata.maxpagesize=1")
    assert [record["Name"] for record in some["value"]] == ["Page5", "Page4"]
    assert "@odata.nextLink" not in some
    number = await api("GET", "PaymentTerms/$count?$filter=startswith(Name,'Page')")
    assert number.text == "7"
    assert number.headers["content-type"].startswith("text/plain")


async def test_properties(api: Served, customer: dict[str, Any]) -> None:
    limit = await api.get(f"{address(customer)}/creditlimit")
    assert limit["value"] == 2000.5
    assert limit["@odata.context"] == f"{api.base}/$metadata#{address(customer)}/CreditLimit"
    assert (await api("GET", f"{address(customer)}/OrganizationName/$value")).text == "Adventure Works"
    assert (await api("GET", f"{address(customer)}/CreditLimit/$value")).text == "2000.5"


async def test_related_records(api: Served, create: Create) -> None:
    await create("SalesOrderHeaderV2Entity", dataareaid="usmf", salesordernumber="SO-1", salesordername="Order")
    for number in (1, 2):
        values = {"salesordernumber": "SO-1", "inventorylotid": f"LOT{number}", "linecreationsequencenumber": number}
        await create("SalesOrderLineV3Entity", dataareaid="usmf", **values)
    line = "SalesOrderLinesV3(dataAreaId='usmf',InventoryLotId='LOT2')"
    expanded = await api.get(f"{line}?$select=InventoryLotId&$expand=SalesOrderHeader($select=SalesOrderNumber)")
    assert expanded["SalesOrderHeader"]["SalesOrderNumber"] == "SO-1"
    assert "SalesOrderName" not in expanded["SalesOrderHeader"]
    alone = await api.get(f"{line}/SalesOrderHeader?$select=SalesOrderName")
    assert alone["SalesOrderName"] == "Order"


async def test_a_version_that_still_stands_is_not_sent_again(api: Served, customer: dict[str, Any]) -> None:
    etag = (await api("GET", address(customer))).headers["etag"]
    again = await api("GET", address(customer), If_None_Match=etag)
    assert (again.status_code, again.content) == (304, b"")
    assert (await api("GET", address(customer), If_None_Match="null")).status_code == 200


async def test_a_page_is_well_formed_json_for_every_entity(api: Served) -> None:
    for entry in (await api.get(""))["value"]:
        answer = await api("GET", f"{entry['name']}?$top=1&cross-company=true")
        assert answer.status_code == 200, answer.text
        assert isinstance(msgspec.json.decode(answer.content)["value"], list)
