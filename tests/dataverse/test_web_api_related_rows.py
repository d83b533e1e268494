"""References between rows over HTTP: binding, deep insert, navigation, `$ref`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.dataverse.conftest import Served

Create = Callable[..., Awaitable[UUID]]
Read = Callable[..., Awaitable[dict[str, Any]]]


@pytest.mark.parametrize(
    "form",
    [
        "/contacts({id})",
        "contacts({id})",
        "{base}/contacts({id})",
        "/api/data/v9.1/contacts({id})",
        "contacts(contactid={id})",
    ],
)
async def test_a_lookup_is_bound_in_every_form(api: Served, create: Create, read: Read, form: str) -> None:
    contact = await create("contact", lastname="C")
    address = form.format(id=contact, base=api.base)
    row_id = api.id_of(await api("POST", "accounts", {"name": "A", "primarycontactid@odata.bind": address}))
    assert (await read("account", row_id))["primarycontactid"] == contact
    assert (await api("PATCH", f"accounts({row_id})", {"primarycontactid@odata.bind": None})).status_code == 204
    assert (await read("account", row_id))["primarycontactid"] is None
    assert (await api("PATCH", f"accounts({row_id})", {"primarycontactid@odata.bind": address})).status_code == 204
    assert (await api("PATCH", f"accounts({row_id})", {"primarycontactid": None})).status_code == 204
    assert (await read("account", row_id))["primarycontactid"] is None


async def test_a_lookup_is_bound_by_alternate_key(api: Served, create: Create, read: Read) -> None:
    code = uuid4().hex[:4]
    company = await create("cdm_company", cdm_companycode=code)
    body = {"name": "A", "msdyn_company@odata.bind": f"/cdm_companies(cdm_companycode='{code.upper()}')"}
    assert (await read("account", api.id_of(await api("POST", "accounts", body))))["msdyn_company"] == company
    body["msdyn_company@odata.bind"] = "/cdm_companies(cdm_companycode='none')"
    missing = await api("POST", "accounts", body)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "0x80060891")


async def test_a_polymorphic_lookup_is_bound_under_the_name_of_its_target(
    api: Served, create: Create, read: Read
) -> None:
    account = await create("account", name="A")
    body = {
        "lastname": "C",
        "parentcustomerid_account@odata.bind": f"accounts({account})",
        "parentcustomerid_contact@odata.bind": None,
    }
    row_id = api.id_of(await api("POST", "contacts", body))
    row = await read("contact", row_id)
    assert (row["parentcustomerid"], row["parentcustomeridtype"]) == (account, "account")
    annotated = await api(
        "GET", f"contacts({row_id})?$select=_parentcustomerid_value", prefer='odata.include-annotations="*"'
    )
    assert (
        annotated.json()
        | {
            "_parentcustomerid_value": str(account),
            "_parentcustomerid_value@OData.Community.Display.V1.FormattedValue": "A",
            "_parentcustomerid_value@Microsoft.Dynamics.CRM.lookuplogicalname": "account",
            "_parentcustomerid_value@Microsoft.Dynamics.CRM.associatednavigationproperty": "parentcustomerid_account",
        }
        == annotated.json()
    )


async def test_rows_are_created_along_with_a_row(api: Served, read: Read) -> None:
    body = {
        "name": "Top",
        "primarycontactid": {"lastname": "Primary", "firstname": "P"},
        "contact_customer_accounts": [{"lastname": "One"}, {"lastname": "Two"}],
        "opportunity_customer_accounts": [{"name": "O", "originatingleadid": {"lastname": "L", "subject": "S"}}],
    }
    row_id = api.id_of(await api("POST", "accounts", body))
    expand = "primarycontactid($select=fullname),contact_customer_accounts($select=lastname;$orderby=lastname)"
    got = (await api("GET", f"accounts({row_id})?$select=name&$expand={expand}")).json()
    assert got["primarycontactid"]["fullname"] == "P Primary"
    assert [contact["lastname"] for contact in got["contact_customer_accounts"]] == ["One", "Two"]
    found = await api(
        "GET",
        f"accounts({row_id})/opportunity_customer_accounts?$select=name&$expand=originatingleadid($select=subject)",
    )
    assert [(row["name"], row["originatingleadid"]["subject"]) for row in found.json()["value"]] == [("O", "S")]


async def test_a_deep_insert_is_all_or_nothing(api: Served, app: Any) -> None:
    mark = uuid4().hex
    body = {"name": mark, "primarycontactid": {"lastname": mark}, "contact_customer_accounts": [{"lastname": 5}]}
    assert (await api("POST", "accounts", body)).status_code == 400
    body["contact_customer_accounts"] = [{"lastname": "x" * 500}]
    assert (await api("POST", "accounts", body)).status_code == 400
    assert await app.pool.origin.fetchval("select count(*) from dataverse.account where name = $1", mark) == 0
    assert await app.pool.origin.fetchval("select count(*) from dataverse.contact where lastname = $1", mark) == 0


async def test_existing_rows_are_linked_to_a_new_one(api: Served, create: Create, read: Read) -> None:
    contacts = [await create("contact", lastname=f"C{number}") for number in range(2)]
    body = {"name": "A", "contact_customer_accounts@odata.bind": [f"/contacts({contact})" for contact in contacts]}
    row_id = api.id_of(await api("POST", "accounts", body))
    assert [(await read("contact", contact))["parentcustomerid"] for contact in contacts] == [row_id, row_id]


async def test_related_rows_that_exist_are_named_by_their_address(api: Served, create: Create, read: Read) -> None:
    contacts = [await create("contact", lastname=f"C{number}") for number in range(2)]
    named = [{"@odata.id": f"contacts({contact})"} for contact in contacts]
    body = {"name": "A", "primarycontactid": named[0], "contact_customer_accounts": [named[1], {"lastname": "new"}]}
    row_id = api.id_of(await api("POST", "accounts", body))
    assert (await read("account", row_id))["primarycontactid"] == contacts[0]
    assert (await read("contact", contacts[1]))["parentcustomerid"] == row_id
    assert (await api("GET", f"accounts({row_id})/contact_customer_accounts/$count")).text == "2"
    mixed = await api("POST", "accounts", {"name": "B", "primarycontactid": {**named[0], "lastname": "other"}})
    assert mixed.status_code == 400
    assert "'lastname'" in mixed.json()["error"]["message"]


async def test_owners_are_users_and_teams_alike(api: Served, create: Create, read: Read) -> None:
    row_id = await create("account", name="A")
    user = (await read("account", row_id))["ownerid"]
    team = (await api("GET", "teams?$select=teamid&$filter=isdefault eq true&$top=1")).json()["value"][0]["teamid"]
    for address, owner in ((f"/teams({team})", UUID(team)), (f"/systemusers({user})", user)):
        changed = await api("PATCH", f"accounts({row_id})", {"ownerid@odata.bind": address})
        assert changed.status_code == 204, changed.text
        assert (await read("account", row_id))["ownerid"] == owner
        answer = await api.client.get(
            f"{api.base}/accounts({row_id})?$select=_ownerid_value",
            headers={"Prefer": 'odata.include-annotations="Microsoft.Dynamics.CRM.*"'},
        )
        shown = {key.rpartition(".")[2]: value for key, value in answer.json().items() if key.startswith("_ownerid")}
        assert shown["associatednavigationproperty"] == "ownerid"
        assert shown["lookuplogicalname"] == address[1:].split("s(")[0]
    reference = {"@odata.id": f"teams({team})"}
    assert (await api("PUT", f"accounts({row_id})/ownerid/$ref", reference)).status_code == 204
    assert (await read("account", row_id))["ownerid"] == UUID(team)
    wrong = await api("PATCH", f"accounts({row_id})", {"ownerid@odata.bind": f"/accounts({row_id})"})
    assert wrong.status_code == 400


async def test_an_update_writes_one_row_only(api: Served, create: Create) -> None:
    row_id = await create("account", name="A")
    answer = await api("PATCH", f"accounts({row_id})", {"contact_customer_accounts": [{"lastname": "C"}]})
    assert answer.status_code == 400


async def test_navigation_leads_to_related_rows(api: Served, create: Create) -> None:
    contact = await create("contact", lastname="C")
    row_id = await create("account", name="A", primarycontactid=contact)
    for number in range(3):
        await create("contact", lastname=f"C{number}", parentcustomerid=row_id)
    single = await api("GET", f"accounts({row_id})/primarycontactid?$select=lastname")
    assert single.json()["lastname"] == "C"
    assert single.json()["@odata.context"] == f"{api.base}/$metadata#contacts(lastname)/$entity"
    reference = await api("GET", f"accounts({row_id})/primarycontactid/$ref")
    assert reference.json()["@odata.id"] == f"{api.base}/contacts({contact})"
    assert (await api("GET", f"accounts({row_id})/parentaccountid")).status_code == 204
    path = f"accounts({row_id})/contact_customer_accounts"
    page = await api("GET", f"{path}?$select=lastname&$filter=lastname ne 'C1'&$orderby=lastname desc")
    assert [row["lastname"] for row in page.json()["value"]] == ["C2", "C0"]
    assert (await api("GET", f"{path}/$count")).text == "3"
    assert len((await api("GET", f"{path}/$ref")).json()["value"]) == 3


async def test_references_are_set_and_cleared(api: Served, create: Create, read: Read) -> None:
    contact, row_id = await create("contact", lastname="C"), await create("account", name="A")
    reference = {"@odata.id": f"{api.base}/contacts({contact})"}
    assert (await api("PUT", f"accounts({row_id})/primarycontactid/$ref", reference)).status_code == 204
    assert (await read("account", row_id))["primarycontactid"] == contact
    assert (await api("DELETE", f"accounts({row_id})/primarycontactid/$ref")).status_code == 204
    assert (await read("account", row_id))["primarycontactid"] is None
    collection = f"accounts({row_id})/contact_customer_accounts"
    for clear in (
        f"{collection}({contact})/$ref",
        f"{collection}/$ref?$id={api.base}/contacts({contact})",
    ):
        assert (await api("POST", f"{collection}/$ref", reference)).status_code == 204
        assert (await read("contact", contact))["parentcustomerid"] == row_id
        assert (await api("DELETE", clear)).status_code == 204
        row = await read("contact", contact)
        assert (row["parentcustomerid"], row["parentcustomeridtype"]) == (None, None)
    wrong = {"@odata.id": f"accounts({row_id})"}
    assert (await api("POST", f"{collection}/$ref", wrong)).status_code == 400


async def test_a_row_is_created_in_a_collection_of_another(api: Served, create: Create, read: Read) -> None:
    row_id = await create("account", name="A")
    created = await api("POST", f"accounts({row_id})/contact_customer_accounts", {"lastname": "C"})
    assert (await read("contact", api.id_of(created)))["parentcustomerid"] == row_id
