"""CreateMultiple, UpdateMultiple and UpsertMultiple."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

from tests.dataverse.conftest import Served

Create = Callable[..., Awaitable[UUID]]
Read = Callable[..., Awaitable[dict[str, Any]]]

ACTIONS = "accounts/Microsoft.Dynamics.CRM."
TYPE = {"@odata.type": "Microsoft.Dynamics.CRM.account"}


async def test_many_rows_are_created_in_order(api: Served, read: Read) -> None:
    targets = [{**TYPE, "name": f"N{number}"} for number in range(20)]
    targets[3]["primarycontactid"] = {"lastname": "C"}  # type: ignore[assignment]
    answer = await api("POST", f"{ACTIONS}CreateMultiple", {"Targets": targets})
    assert answer.status_code == 200
    ids = answer.json()["Ids"]
    assert [(await read("account", UUID(row_id)))["name"] for row_id in ids] == [f"N{n}" for n in range(20)]


async def test_many_rows_are_updated_or_none(api: Served, create: Create, read: Read) -> None:
    ids = [await create("account", name="A") for _ in range(3)]
    targets = [{**TYPE, "accountid": str(row_id), "name": "B"} for row_id in ids]
    assert (await api("POST", f"{ACTIONS}UpdateMultiple", {"Targets": targets})).status_code == 204
    assert (await read("account", ids[2]))["name"] == "B"
    targets = [{"accountid": str(row_id), "name": "C"} for row_id in (*ids, uuid4())]
    assert (await api("POST", f"{ACTIONS}UpdateMultiple", {"Targets": targets})).status_code == 404
    assert (await read("account", ids[0]))["name"] == "B"


async def test_many_rows_are_upserted_by_key(api: Served, create: Create, read: Read, app: Any) -> None:
    company = await create("cdm_company", cdm_companycode=uuid4().hex[:4])
    mark = uuid4().hex[:8]
    known = await create("account", name="old", accountnumber=f"{mark}0", msdyn_company=company)

    def target(number: int, **values: Any) -> dict[str, Any]:
        key = f"accounts(accountnumber='{mark}{number}',_msdyn_company_value={company})"
        return {**TYPE, "@odata.id": key, "name": "new", **values}

    body = {"Targets": [target(number) for number in range(4)]}
    assert (await api("POST", f"{ACTIONS}UpsertMultiple", body)).status_code == 204
    assert (await read("account", known))["name"] == "new"
    sql = "select count(*) from dataverse.account where starts_with(accountnumber, $1) and msdyn_company = $2"
    assert await app.pool.origin.fetchval(sql, mark, company) == 4
    doubled = await api("POST", f"{ACTIONS}UpsertMultiple", {"Targets": [target(1, accountnumber=f"{mark}1")]})
    assert doubled.json()["error"]["code"] == "0x80040216"
    by_id = [{"accountid": str(known), "name": "by id"}, {"accountid": str(uuid4()), "name": "by id"}]
    assert (await api("POST", f"{ACTIONS}UpsertMultiple", {"Targets": by_id})).status_code == 204
    assert (await read("account", UUID(by_id[1]["accountid"])))["name"] == "by id"


async def test_targets_must_be_rows(api: Served) -> None:
    for body in ({}, {"Targets": []}, {"Targets": 5}, {"Targets": [5]}, []):
        assert (await api("POST", f"{ACTIONS}CreateMultiple", body)).status_code == 400
    too_many = {"Targets": [{"name": "A"}] * 1001}
    assert (await api("POST", f"{ACTIONS}CreateMultiple", too_many)).status_code == 400
    same = {"accountid": str(uuid4()), "name": "A"}
    assert (await api("POST", f"{ACTIONS}UpdateMultiple", {"Targets": [same, same]})).status_code == 400
    assert (await api("POST", f"{ACTIONS}NoSuchMultiple", {"Targets": [same]})).status_code == 404


async def test_each_row_points_at_the_row_that_its_key_names(api: Served, create: Create, read: Read) -> None:
    company = await create("cdm_company", cdm_companycode=uuid4().hex[:4])
    mark = uuid4().hex[:8]
    parents = [await create("account", accountnumber=f"{mark}{n}", msdyn_company=company) for n in range(3)]

    def target(number: int) -> dict[str, Any]:
        key = f"accounts(accountnumber='{mark}{number}',_msdyn_company_value={company})"
        return {**TYPE, "name": "child", "parentaccountid@odata.bind": key}

    numbers = [2, 0, 1, 0]
    by_id = {**TYPE, "name": "child", "parentaccountid@odata.bind": f"accounts({parents[1]})"}
    targets = [*map(target, numbers), by_id]
    ids = (await api("POST", f"{ACTIONS}CreateMultiple", {"Targets": targets})).json()["Ids"]
    found = [(await read("account", UUID(row_id)))["parentaccountid"] for row_id in ids]
    assert found == [*(parents[number] for number in numbers), parents[1]]
    absent = await api("POST", f"{ACTIONS}CreateMultiple", {"Targets": [target(0), target(7)]})
    assert (absent.status_code, absent.json()["error"]["code"]) == (404, "0x80060891")
    assert f"accountnumber = {mark}7" in absent.json()["error"]["message"]
