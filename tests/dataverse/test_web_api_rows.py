"""Rows over HTTP: create, retrieve, update, upsert, delete, by id and by alternate key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.dataverse.conftest import Served

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.apps.pipeline import Stage, Step
from isthmus.dataverse.app import DataverseApp

Create = Callable[..., Awaitable[UUID]]
Read = Callable[..., Awaitable[dict[str, Any]]]

ID_OF = {
    "accounts": "accountid",
    "contacts": "contactid",
    "tasks": "activityid",
    "businessunits": "businessunitid",
}

NOBODY = "00000000-0000-4000-8000-000000000000"
"""The id of no row. Parameters of tests must be the same in every process."""


async def test_create_answers_with_the_rows_address(api: Served, read: Read) -> None:
    answer = await api("POST", "accounts", {"name": "A", "revenue": 10.25, "numberofemployees": 3})
    assert answer.status_code == 204
    assert answer.content == b""
    address = answer.headers["odata-entityid"]
    row_id = api.id_of(answer)
    assert address == f"{api.base}/accounts({row_id})"
    assert answer.headers["odata-version"] == "4.0"
    assert UUID(answer.headers["x-ms-service-request-id"])
    assert "commit;dur=" in answer.headers["server-timing"]
    assert str((await read("account", row_id))["revenue"]) == "10.25"


async def test_create_shows_the_row_when_asked(api: Served) -> None:
    answer = await api("POST", "accounts?$select=name", {"name": "A"}, prefer="return=representation")
    assert answer.status_code == 201
    body = answer.json()
    assert body["name"] == "A"
    assert body["@odata.context"] == f"{api.base}/$metadata#accounts(name)/$entity"
    assert answer.headers["etag"] == body["@odata.etag"]
    assert answer.headers["preference-applied"] == "return=representation"
    assert answer.headers["odata-entityid"].endswith(f"({body['accountid']})")


@pytest.mark.parametrize(
    ("collection", "body"),
    [
        ("accounts", {"name": 'Q"uote\\ ä', "revenue": 1.5, "industrycode": 1, "lastonholdtime": "2024-01-02"}),
        ("contacts", {"firstname": "A", "lastname": "B"}),
        ("tasks", {"subject": "S", "scheduledend": "2024-01-02T03:04:05Z"}),
        ("businessunits", {"name": "Unit"}),
        ("accounts", {"name": "Deep", "contact_customer_accounts": [{"lastname": "C"}]}),
        ("accounts", {"name": "Deep", "primarycontactid": {"lastname": "C"}}),
    ],
)
async def test_row_shown_by_a_create_is_the_one_that_is_read(api: Served, collection: str, body: Any) -> None:
    shown = (await api("POST", collection, body, prefer="return=representation")).json()
    read = (await api("GET", f"{collection}({shown[ID_OF[collection]]})")).json()
    assert shown == read


async def test_step_that_corrects_a_new_row_is_seen_by_its_creator(app: DataverseApp, api: Served) -> None:
    async def correct(context: Context, message: Message) -> None:
        row = Row(id=message.rows[0].id, values={"subject": "corrected"})
        await app.execute(context, Message(operation=Operation.UPDATE, table="letter", rows=[row]))

    app.pipeline.register(Step(stage=Stage.POST_OPERATION, handler=correct, operation=Operation.CREATE, table="letter"))
    shown = (await api("POST", "letters", {"subject": "as given"}, prefer="return=representation")).json()
    assert shown["subject"] == "corrected"


async def test_retrieve_gives_every_column_in_its_form(api: Served) -> None:
    created = await api(
        "POST",
        "accounts",
        {"name": 'Q"uote\\ ä', "revenue": 1.5, "industrycode": 1, "donotemail": True, "lastonholdtime": "2024-01-02"},
    )
    body = (await api("GET", f"accounts({api.id_of(created)})")).json()
    assert body["name"] == 'Q"uote\\ ä'
    assert body["revenue"] == 1.5
    assert body["industrycode"] == 1
    assert body["donotemail"] is True
    assert body["lastonholdtime"] == "2024-01-02T00:00:00Z"
    assert body["createdon"].endswith("Z")
    assert len(body["createdon"]) == 20
    assert body["_ownerid_value"] == body["_createdby_value"]
    assert body["telephone1"] is None
    assert body["@odata.context"] == f"{api.base}/$metadata#accounts/$entity"


@pytest.mark.parametrize("root", ["/api/data/v9.0", "/api/data/v9.1", "/API/Data/V9.2"])
async def test_every_version_and_case_of_the_root_is_served(api: Served, create: Create, root: str) -> None:
    row_id = await create("account", name="A")
    base = api.base.replace("/api/data/v9.2", root)
    answer = await api.client.get(f"{base}/ACCOUNTS({row_id})?$select=name")
    assert answer.json()["@odata.context"].startswith(base + "/$metadata#accounts")


async def test_addresses_are_those_the_client_used(api: Served) -> None:
    answer = await api("POST", "accounts", {"name": "A"}, host="crm.example:8443")
    assert answer.headers["odata-entityid"].startswith("http://crm.example:8443/api/data/v9.2/accounts(")


async def test_update_and_delete(api: Served, create: Create, read: Read) -> None:
    row_id = await create("account", name="A", telephone1="1")
    answer = await api("PATCH", f"accounts({row_id})", {"name": "B", "telephone1": None})
    assert answer.status_code == 204
    assert api.id_of(answer) == row_id
    row = await read("account", row_id)
    assert (row["name"], row["telephone1"]) == ("B", None)
    assert (await api("DELETE", f"accounts({row_id})")).status_code == 204
    assert (await api("GET", f"accounts({row_id})")).status_code == 404
    assert (await api("DELETE", f"accounts({row_id})")).status_code == 404


async def test_upsert_creates_what_is_not_there(api: Served, read: Read) -> None:
    row_id = uuid4()
    for name, status in (("A", 201), ("B", 200)):
        answer = await api("PATCH", f"accounts({row_id})", {"name": name}, prefer="return=representation")
        assert (answer.status_code, answer.json()["name"]) == (status, name)
        assert answer.json()["accountid"] == str(row_id)
    assert (await read("account", row_id))["name"] == "B"


async def test_upsert_can_be_kept_from_creating_or_updating(api: Served, create: Create, read: Read) -> None:
    absent, present = uuid4(), await create("account", name="A")
    prevented = await api("PATCH", f"accounts({absent})", {"name": "B"}, if_match="*")
    assert (prevented.status_code, prevented.json()["error"]["code"]) == (404, "0x80040217")
    assert not await read("account", absent)
    prevented = await api("PATCH", f"accounts({present})", {"name": "B"}, if_none_match="*")
    assert (prevented.status_code, prevented.json()["error"]["code"]) == (412, "0x80040237")
    assert (await read("account", present))["name"] == "A"
    assert (await api("PATCH", f"accounts({absent})", {"name": "B"}, if_none_match="*")).status_code == 204
    assert (await api("PATCH", f"accounts({present})", {"name": "B"}, if_match="*")).status_code == 204


async def test_etags_guard_writes_and_spare_reads(api: Served, create: Create, read: Read) -> None:
    row_id = await create("account", name="A")
    etag = (await api("GET", f"accounts({row_id})")).headers["etag"]
    unchanged = await api("GET", f"accounts({row_id})", if_none_match=etag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert (await api("GET", f"accounts({row_id})", if_none_match="null")).status_code == 200
    assert (await api("PATCH", f"accounts({row_id})", {"name": "B"}, if_match=etag)).status_code == 204
    assert (await api("GET", f"accounts({row_id})", if_none_match=etag)).status_code == 200
    for method in ("PATCH", "DELETE"):
        stale = await api(method, f"accounts({row_id})", {"name": "C"}, if_match=etag)
        assert (stale.status_code, stale.json()["error"]["code"]) == (412, "0x80060882")
    assert (await read("account", row_id))["name"] == "B"
    broken = await api("PATCH", f"accounts({row_id})", {"name": "C"}, if_match="W/abc")
    assert broken.status_code == 400


async def test_an_alternate_key_names_a_row(api: Served, create: Create, read: Read) -> None:
    company = await create("cdm_company", cdm_companycode=uuid4().hex[:4])
    number = f"O'Neil {uuid4().hex[:6]}"
    quoted = number.replace("'", "''")
    key = f"accounts(accountnumber='{quoted}',_msdyn_company_value={company})"
    missing = await api("GET", key)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "0x80060891")
    created = await api("PATCH", key, {"name": "A", "accountnumber": "ignored"}, prefer="return=representation")
    assert created.status_code == 201
    assert created.json()["accountnumber"] == number
    assert created.json()["_msdyn_company_value"] == str(company)
    row_id = UUID(created.json()["accountid"])
    updated = await api("PATCH", key.upper().replace("ACCOUNTS", "accounts"), {"name": "B", "accountnumber": "ignored"})
    assert api.id_of(updated) == row_id
    assert (await read("account", row_id))["accountnumber"] == number
    assert (await api("GET", key.replace("_msdyn_company_value", "msdyn_company"))).json()["name"] == "B"
    encoded = key.replace("'", "%27").replace(" ", "%20").replace(",", "%2C").replace("=", "%3D")
    assert (await api("GET", encoded)).json()["name"] == "B"
    doubled = await api(
        "POST", "accounts", {"accountnumber": number, "msdyn_company@odata.bind": f"cdm_companies({company})"}
    )
    assert (doubled.status_code, doubled.json()["error"]["code"]) == (412, "0x80060892")
    assert "account_key" in doubled.json()["error"]["message"]
    assert (await api("DELETE", key)).status_code == 204
    assert (await api("DELETE", key)).json()["error"]["code"] == "0x80060891"


async def test_a_key_must_be_declared(api: Served) -> None:
    for key in ("name='x'", "nosuch='x'", "'not-a-guid'", ""):
        answer = await api("GET", f"accounts({key})")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x80060888"), key


async def test_upserts_that_race_for_one_key_all_succeed(api: Served, create: Create) -> None:
    company = await create("cdm_company", cdm_companycode=uuid4().hex[:4])
    key = f"accounts(accountnumber='{uuid4().hex[:8]}',_msdyn_company_value={company})"
    answers = await asyncio.gather(*(api("PATCH", key, {"name": f"N{number}"}) for number in range(8)))
    assert {answer.status_code for answer in answers} == {204}
    assert len({api.id_of(answer) for answer in answers}) == 1


async def test_single_properties(api: Served, create: Create, read: Read) -> None:
    row_id = await create("account", name="A")
    got = await api("GET", f"accounts({row_id})/name")
    assert got.json() == {"@odata.context": f"{api.base}/$metadata#accounts({row_id})/name", "value": "A"}
    assert (await api("GET", f"accounts({row_id})/name/$value")).text == "A"
    assert (await api("GET", f"accounts({row_id})/telephone1")).status_code == 204
    assert (await api("PUT", f"accounts({row_id})/telephone1", {"value": "5"})).status_code == 204
    assert (await read("account", row_id))["telephone1"] == "5"
    assert (await api("DELETE", f"accounts({row_id})/telephone1")).status_code == 204
    assert (await read("account", row_id))["telephone1"] is None
    assert (await api("GET", f"accounts({uuid4()})/name")).status_code == 404
    assert (await api("GET", f"accounts({row_id})/nosuch")).json()["error"]["code"] == "0x80060888"


async def test_a_repeated_request_has_one_effect_and_the_same_answer(api: Served, read: Read) -> None:
    key = str(uuid4())
    first = await api("POST", "accounts", {"name": "A"}, idempotency_key=key)
    second = await api("POST", "accounts", {"name": "A"}, idempotency_key=key)
    assert second.status_code == 204
    assert api.id_of(first) == api.id_of(second)
    assert second.headers["idempotency-replayed"] == "true"
    other = await api("POST", "accounts", {"name": "B"}, idempotency_key=key)
    assert other.status_code == 422
    refused = str(uuid4())
    assert (await api("POST", "accounts", {"name": 5}, repeatability_request_id=refused)).status_code == 400
    assert (await api("POST", "accounts", {"name": "5"}, repeatability_request_id=refused)).status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "accounts", {"nosuch": 1}, 400, "0x80048d19"),
        ("POST", "accounts", {"_primarycontactid_value": NOBODY}, 400, "0x80048d19"),
        ("POST", "accounts", {"primarycontactid": NOBODY}, 400, "0x80048d19"),
        ("POST", "accounts", {"name": 5}, 400, "0x80048d19"),
        ("POST", "accounts", [1], 400, "0x80048d19"),
        ("POST", "accounts", {"name": "x" * 161}, 400, "0x80044331"),
        ("POST", "accounts", {"industrycode": 4711}, 400, "0x8004431a"),
        ("POST", "accounts", {"numberofemployees": -1}, 400, "0x8004432f"),
        ("POST", "accounts", {"revenue": -1}, 400, "0x80044330"),
        ("POST", "accounts", {"statuscode": 2}, 400, "0x80048408"),
        ("POST", "accounts", {"primarycontactid@odata.bind": f"/contacts({NOBODY})"}, 404, "0x80040217"),
        ("POST", "accounts", {"primarycontactid@odata.bind": f"/accounts({NOBODY})"}, 400, "0x80040203"),
        ("POST", "nosuchset", {"name": "A"}, 404, "0x80060888"),
        ("GET", "nosuchset", None, 404, "0x80060888"),
        ("GET", f"accounts({NOBODY})", None, 404, "0x80040217"),
        ("GET", f"accounts({NOBODY})/nosuch", None, 404, "0x80060888"),
        ("GET", f"accounts({NOBODY})/contact_customer_accounts", None, 404, "0x80040217"),
        ("PUT", f"accounts({NOBODY})", {"name": "A"}, 405, "0x80060888"),
        ("DELETE", "accounts", None, 405, "0x80060888"),
        ("POST", "", {}, 405, "0x80060888"),
    ],
)  # fmt: skip
async def test_refusals_have_dataverses_codes(
    api: Served, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = await api(method, path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.json()["error"].keys() == {"code", "message"}
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["req_id"]


async def test_a_body_that_is_no_json_is_refused(api: Served) -> None:
    for body in (b"{", b"\xff\xfe", b'{"name":"\xff"}', b'{"name":"\x00"}', b"[" * 5000):
        answer = await api.client.post(f"{api.base}/accounts", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x80048d19")
