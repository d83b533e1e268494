"""POST, PATCH, PUT and DELETE below /data."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from tests.finops.conftest import CUSTOMERS, TERMS, Create, Read, Served

from isthmus.finops.app import FinopsApp


@pytest.fixture
async def address(new_customer: Create, read: Read) -> str:
    customer = await read(CUSTOMERS, await new_customer(organizationname="Before", creditlimit=2000))
    return f"CustomersV3(dataAreaId='usmf',CustomerAccount='{customer['customeraccount']}')"


async def test_post_answers_with_the_record_and_where_it_is(api: Served) -> None:
    body = {
        "@odata.type": "#Microsoft.Dynamics.DataEntities.CustomerV3",
        "CustomerGroupId": "10",
        "OrganizationName": "Posted",
        "CREDITLIMIT": 12.5,
        "OnHoldStatus": "Invoice",
        "InvoiceAddressCity": None,
    }
    answer = await api("POST", "CustomersV3", body)
    record = answer.json()
    assert answer.status_code == 201, answer.text
    assert record["dataAreaId"] == "usmf", "the caller's own company"
    assert (record["CreditLimit"], record["OnHoldStatus"], record["InvoiceAddressCity"]) == (12.5, "Invoice", "")
    assert (record["PaymentTerms"], record["SalesCurrencyCode"]) == ("Net30", "USD")
    again = (await api.client.get(answer.headers["location"])).json()
    assert again == record
    assert answer.headers["etag"] == record["@odata.etag"]


async def test_post_into_another_company(api: Served) -> None:
    answer = await api("POST", "PaymentTerms", {"dataAreaId": "DEMF", "Name": "O'Net/1"})
    assert answer.status_code == 201
    assert answer.json()["dataAreaId"] == "demf"
    assert answer.headers["location"].endswith("/PaymentTerms(dataAreaId='demf',Name='O''Net%2F1')")
    found = await api.client.get(f"{answer.headers['location']}?cross-company=true")
    assert found.json()["Name"] == "O'Net/1"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_change_of_some_fields_leaves_the_others(api: Served, address: str, method: str) -> None:
    answer = await api(method, address, {"CreditLimit": 5000})
    assert (answer.status_code, answer.content) == (204, b"")
    record = await api.get(f"{address}?$select=CreditLimit,OrganizationName")
    assert (record["CreditLimit"], record["OrganizationName"]) == (5000, "Before")


async def test_a_change_of_a_record_that_is_not_there(api: Served) -> None:
    missing = "CustomersV3(dataAreaId='usmf',CustomerAccount='missing')"
    for method in ("PATCH", "PUT", "DELETE"):
        assert "missing" in await api.refused(method, missing, 404, {})


async def test_records_of_other_companies_need_cross_company(api: Served, create: Create) -> None:
    await create(TERMS, dataareaid="demf", name="Foreign")
    address = "PaymentTerms(dataAreaId='demf',Name='Foreign')"
    assert await api.refused("PATCH", address, 404, {"Description": "x"})
    assert (await api("PATCH", f"{address}?cross-company=true", {"Description": "x"})).status_code == 204
    assert await api.refused("DELETE", address, 404)
    assert (await api("DELETE", f"{address}?cross-company=true")).status_code == 204


async def test_delete(api: Served, address: str) -> None:
    assert (await api("DELETE", address)).status_code == 204
    assert await api.refused("GET", address, 404)


async def test_a_stale_etag_is_refused(api: Served, address: str) -> None:
    etag = (await api("GET", address)).headers["etag"]
    assert (await api("PATCH", address, {"CreditLimit": 1}, If_Match=etag)).status_code == 204
    for method in ("PATCH", "DELETE"):
        assert "changed by someone else" in await api.refused(method, address, 412, {"CreditLimit": 2}, If_Match=etag)
    assert await api.refused("PATCH", address, 412, {"CreditLimit": 2}, If_Match='W/"1;2"')
    assert await api.refused("PATCH", address, 400, {"CreditLimit": 2}, If_Match="nonsense")
    assert (await api("PATCH", address, {"CreditLimit": 2}, If_Match="*")).status_code == 204


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"CustomerGroupId": "nowhere"}, "The value 'nowhere' in field 'CustomerGroupId' is not found"),
        ({"SalesCurrencyCode": None}, "Field 'SalesCurrencyCode' must be filled in"),
        ({"CustomerAccount": "other"}, "can't be changed"),
        ({"CreditLimit": "much"}, "Field 'CreditLimit' is of type real"),
        ({"OnHoldStatus": "Perhaps"}, "has no member 'Perhaps'"),
        ({"Nothing": 1}, "The property 'Nothing' does not exist on type 'CustomerV3'"),
        ({"OrganizationName": {"a": 1}}, "nested value"),
        ({"CreditLimit": -5}, "can't be negative"),
    ],
)
async def test_refusals_read_as_f_and_o_writes_them(
    api: Served, address: str, body: dict[str, Any], words: str
) -> None:
    message = await api.refused("PATCH", address, 400, body)
    assert message.startswith("Write failed for table row of type 'CustCustomerV3Entity'. Infolog: Warning: ")
    assert words in message
    assert (await api.get(f"{address}?$select=CreditLimit"))["CreditLimit"] == 2000, "nothing was saved"


async def test_a_field_that_was_refused_is_named(api: Served, address: str) -> None:
    answer = await api("PATCH", address, {"CustomerGroupId": "nowhere"})
    inner = answer.json()["error"]["innererror"]
    assert inner["message"].endswith("Warning: validateField failed on field 'CustCustomerV3Entity.CustomerGroupId'.")
    assert inner["type"].endswith("AxODataWriteException")


async def test_a_key_that_is_taken(api: Served, create: Create) -> None:
    await create(TERMS, dataareaid="usmf", name="Taken")
    message = await api.refused("POST", "PaymentTerms", 409, {"Name": "TAKEN"})
    assert "Info: Cannot create a record in" in message and "already exists" in message


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff", b'"x"', b"[" * 50_000])
async def test_bodies_that_are_no_object(api: Served, content: bytes) -> None:
    answer = await api.client.post(f"{api.base}/PaymentTerms", content=content)
    assert answer.status_code == 400
    assert "no JSON object" in answer.json()["error"]["innererror"]["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "CustomersV3"),
        ("DELETE", "CustomersV3"),
        ("POST", "CustomersV3(dataAreaId='usmf',CustomerAccount='x')"),
        ("POST", ""),
        ("OPTIONS", "CustomersV3"),
    ],
)
async def test_methods_that_an_address_has_no_use_for(api: Served, method: str, path: str) -> None:
    assert "is not allowed" in await api.refused(method, path, 405)


async def test_a_repeated_request_has_one_effect_and_one_answer(api: Served, app: FinopsApp) -> None:
    key = str(uuid4())
    body = {"CustomerGroupId": "20", "OrganizationName": "Once"}
    first = await api("POST", "CustomersV3", body, Idempotency_Key=key)
    second = await api("POST", "CustomersV3", body, Idempotency_Key=key)
    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["idempotency-replayed"] == "true"
    count = await app.pool.origin.fetchval("select count(*) from finops.dirpartytable where name = 'Once'")
    assert count == 1
    assert await api.refused("POST", "CustomersV3", 422, {**body, "CreditLimit": 1}, Idempotency_Key=key)


async def test_writers_of_one_record_queue(api: Served, address: str, app: FinopsApp) -> None:
    answers = await asyncio.gather(*(api("PATCH", address, {"CreditLimit": number}) for number in range(20)))
    assert {answer.status_code for answer in answers} == {204}


async def test_an_action_bound_to_a_record(api: Served, address: str) -> None:
    action = f"{address}/Microsoft.Dynamics.DataEntities.setOnHold"
    assert (await api("POST", action, {"onHoldStatus": "All"})).status_code == 204
    assert (await api.get(f"{address}/OnHoldStatus"))["value"] == "All"
    assert "onHoldStatus" in await api.refused("POST", action, 400, {})
    assert "Perhaps" in await api.refused("POST", action, 400, {"onHoldStatus": "Perhaps"})
    assert await api.refused("POST", action.replace("setOnHold", "nothing"), 404, {})
    assert "bound to a record" in await api.refused(
        "POST", "CustomersV3/Microsoft.Dynamics.DataEntities.setOnHold", 404, {}
    )


async def test_actions_bound_to_an_entity_set(api: Served) -> None:
    for name in ("GetApplicationVersion", "GetPlatformBuildVersion", "GetApplicationBuildVersion"):
        answer = await api("POST", f"DataManagementEntities/Microsoft.Dynamics.DataEntities.{name}", {})
        assert answer.status_code == 200
        assert answer.json()["value"].count(".") == 2
    answer = await api("POST", "SystemNotifications/Microsoft.Dynamics.DataEntities.GetInstalledModules", {})
    assert any(line.startswith("Name: finance | Version: ") for line in answer.json()["value"])
