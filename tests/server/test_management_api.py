"""The management API over a real environment: what it shows, refuses and documents."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import msgspec
import pytest
from tests.support.callers import CALLER
from tests.support.watching import Watching
from tests.support.writing import create, delete

from isthmus.dual_write.activity import Entry
from isthmus.dual_write.fence import enter
from isthmus.environments.environment import Environment
from isthmus.store.transaction import Transaction

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "management_api.md"
ROOT = "/api/isthmus/v1"
NO_ID = "12345678-1234-1234-1234-123456789012"
UNITS = "uoms - Units"
CUSTOMERS = "accounts - Customers V3"
CURRENCIES = "transactioncurrencies - Currencies"


@pytest.fixture(scope="session")
async def api(halves: Environment) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shared environment's management API."""
    async with client_of(halves) as client:
        yield client


def client_of(environment: Environment, principal: Any = CALLER) -> httpx.AsyncClient:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["isthmus.principal"] = principal
        await environment.management(scope, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://test{ROOT}")


async def test_all_table_maps_are_listed_parents_first(api: httpx.AsyncClient, halves: Environment) -> None:
    found = (await api.get("/table-maps")).json()
    names = [one["name"] for one in found]
    assert sorted(names) == sorted(halves.finops_app.catalog.table_maps)
    assert names.index("cdm_companies - Legal entities") < names.index(CUSTOMERS)
    customers = found[names.index(CUSTOMERS)]
    assert customers["state"] == "running"
    assert customers["direction"] == "both"


async def ended(api: httpx.AsyncClient, answer: httpx.Response) -> Any:
    """The request of an action, once it has ended."""
    assert answer.status_code == 202, answer.text
    found = answer.json()
    for _ in range(600):
        if found["state"] in ("completed", "error", "cancelled"):
            return found
        await asyncio.sleep(0.05)
        found = (await api.get(f"/requests/{found['id']}")).json()
    raise AssertionError(f"the request did not end: {found}")


async def state_of(api: httpx.AsyncClient, name: str) -> str:
    found = (await api.get(f"/table-maps/{quote(name, safe='')}")).json()
    return str(found["summary"]["state"])


async def test_a_table_map_goes_through_its_states(api: httpx.AsyncClient) -> None:
    names = {"table_maps": [UNITS]}
    for action, body, state in (
        ("pause", {}, "paused"),
        ("resume", {}, "running"),
        ("stop", {}, "not_running"),
        ("run", {"needed": False}, "running"),
        ("pause", {}, "paused"),
        ("resume", {"live": "discard"}, "running"),
        ("stop", {}, "not_running"),
        ("run", {"skip_initial_sync": True, "needed": False}, "running"),
    ):
        found = await ended(api, await api.post(f"/{action}", json=names | body))
        assert (found["action"], found["state"], found["message"]) == (action, "completed", None)
        assert await state_of(api, UNITS) == state
        if body == {"needed": False}:
            parts = (await api.get(f"/requests/{found['id']}/initial-sync")).json()
            assert [(part["table_map"], part["step"]) for part in parts] == [(UNITS, "done")]


async def test_an_action_that_the_state_does_not_allow_is_refused_at_once(api: httpx.AsyncClient) -> None:
    refused = await api.post("/resume", json={"table_maps": [UNITS]})
    assert refused.status_code == 409 or refused.status_code == 400
    problem = refused.json()
    assert refused.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "table_map_transition"
    assert UNITS in problem["detail"] and "running" in problem["detail"]
    unknown = await api.post("/pause", json={"table_maps": ["no such map"]})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "table_map_not_found")
    none = await api.post("/pause", json={"table_maps": []})
    assert (none.status_code, none.json()["field"]) == (400, "table_maps")


@asynccontextmanager
async def a_save_under_way(halves: Environment, name: str) -> AsyncIterator[None]:
    """Keeps the state of a table map from changing, as a long save does."""
    transaction = Transaction(halves.finops_app.pool.origin)
    await transaction.begin()
    try:
        await enter(transaction, [name])
        yield
    finally:
        await transaction.close()


async def test_requests_about_one_table_map_wait_for_each_other(api: httpx.AsyncClient, halves: Environment) -> None:
    async with a_save_under_way(halves, UNITS):
        first = await api.post("/pause", json={"table_maps": [UNITS]})
        refused = await api.post("/stop", json={"table_maps": [CUSTOMERS, UNITS]})
        assert (refused.status_code, refused.json()["code"]) == (409, "table_map_busy")
        assert refused.json()["details"]["request"] == first.json()["id"]
        other = halves.dual_write.requests
        after = await other.submit("stop", [UNITS], {}, "somebody else")
        await asyncio.sleep(0.5)
        assert (await other.get(after)).state != "completed"
        assert (await api.post(f"/requests/{after}/cancel")).status_code == 202
        assert (await api.get("/requests", params={"table_map": UNITS, "limit": 1})).json()["items"][0]["cancel_asked"]
    assert (await ended(api, first))["state"] == "completed"
    cancelled = await api.get(f"/requests/{after}")
    for _ in range(100):
        if cancelled.json()["state"] == "cancelled":
            break
        await asyncio.sleep(0.1)
        cancelled = await api.get(f"/requests/{after}")
    assert cancelled.json()["state"] == "cancelled"
    assert await state_of(api, UNITS) == "paused"
    await ended(api, await api.post("/resume", json={"table_maps": [UNITS]}))


async def test_a_cancelled_run_leaves_its_table_map_stopped(api: httpx.AsyncClient, halves: Environment) -> None:
    await ended(api, await api.post("/stop", json={"table_maps": [UNITS]}))
    await create(halves.finops_app, "UnitOfMeasureEntity", {"unitsymbol": "cancelled"})
    locked = Transaction(halves.dataverse_app.pool.origin)
    await locked.begin()
    try:
        await locked.run("lock table dataverse.uom in exclusive mode")
        run = await api.post("/run", json={"table_maps": [UNITS], "needed": False})
        for _ in range(100):
            if await state_of(api, UNITS) == "initializing":
                break
            await asyncio.sleep(0.05)
        refused = await api.post("/stop", json={"table_maps": [UNITS]})
        assert refused.json()["code"] == "table_map_busy"
        assert (await api.post(f"/requests/{run.json()['id']}/cancel")).json()["cancel_asked"]
        assert (await ended(api, run))["state"] == "cancelled"
    finally:
        await locked.close()
    assert await state_of(api, UNITS) == "not_running"
    again = await ended(api, await api.post("/run", json={"table_maps": [UNITS], "needed": False}))
    assert again["state"] == "completed"
    assert (await api.post(f"/requests/{again['id']}/cancel")).json()["code"] == "request_ended"
    assert (await api.post(f"/table-maps/{quote(UNITS)}/compare")).json()["missing_in_dataverse"] == 0


@pytest.mark.parametrize("path", ["/run", "/plan", f"/table-maps/{quote(UNITS)}/compare"])
async def test_a_company_that_neither_half_has_is_refused(api: httpx.AsyncClient, path: str) -> None:
    names = {} if path.endswith("compare") else {"table_maps": [UNITS], "skip_initial_sync": True}
    refused = await api.post(path, json=names | {"companies": ["nosuch"]})
    assert (refused.status_code, refused.json()["code"]) == (400, "company_not_found")
    assert refused.json()["field"] == "companies" and "'nosuch'" in refused.json()["detail"]


async def test_who_is_no_system_user_is_not_let_in(halves: Environment) -> None:
    stranger = msgspec.structs.replace(CALLER, object_id="99999999-2222-4333-8444-555555555555")
    async with client_of(halves, stranger) as client:
        refused = await client.get("/table-maps")
    assert (refused.status_code, refused.json()["code"]) == (403, "user_not_member")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "field"),
    [
        ("GET", "/nowhere", None, 404, "segment_not_found", None),
        ("DELETE", "/table-maps", None, 405, "method_not_allowed", None),
        ("GET", "/activity?limit=many", None, 400, "query_parameter", "limit"),
        ("GET", "/activity?limit=0", None, 400, "query_parameter", "limit"),
        ("GET", "/activity?colour=red", None, 400, "query_parameter", "colour"),
        ("GET", "/activity?code=a&code=b", None, 400, "query_parameter", "code"),
        ("GET", "/activity?kind=paused&kind=nonsense", None, 400, "query_parameter", "kind"),
        ("GET", "/activity?since=2026-05-01T08:00:00", None, 400, "query_parameter", "since"),
        ("GET", "/refused-records", None, 400, "query_parameter", "half"),
        ("POST", "/pause", b"{}", 400, "payload_property", "table_maps"),
        ("GET", "/requests?state=bogus", None, 400, "query_parameter", "state"),
        ("GET", "/requests/12", None, 400, "query_parameter", "request_id"),
        ("GET", f"/requests/{NO_ID}", None, 404, "request_not_found", None),
        ("GET", "/table-maps/none", None, 404, "table_map_not_found", None),
        ("GET", "/table-maps/none/queue?half=finops", None, 404, "table_map_not_found", None),
        ("POST", "/table-maps/none/queue/retry", b'{"half": "finops"}', 404, "table_map_not_found", None),
        (
            "POST",
            "/table-maps/none/queue/dismiss",
            b'{"half": "finops", "ids": [1], "reason": "x"}',
            404,
            "table_map_not_found",
            None,
        ),
        ("POST", "/run", b"{", 400, "payload_syntax", None),
        ("POST", "/run", b'{"table_maps": 1}', 400, "payload_property", "table_maps"),
        ("POST", "/run", b'{"table_maps": [], "colour": "red"}', 400, "payload_property", None),
        ("POST", "/run", b'{"table_maps": ["x"], "master": "both"}', 400, "payload_property", "master"),
        (
            "PUT",
            "/alert-rules/12345678-1234-1234-1234-123456789012",
            b'{"name": "x"}',
            404,
            "alert_rule_not_found",
            None,
        ),
    ],
)
async def test_refusals_say_what_is_wrong_and_what_to_do(
    api: httpx.AsyncClient, method: str, path: str, body: bytes | None, status: int, code: str, field: str | None
) -> None:
    refused = await api.request(method, path, content=body)
    problem = refused.json()
    assert (refused.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    assert problem["field"] == field
    assert refused.headers["content-type"] == "application/problem+json"
    assert problem["detail"].endswith(".") and problem["what_to_do"].endswith(".")
    assert problem["type"] == f"urn:isthmus:error:{code}"


@pytest.mark.parametrize(
    ("method", "path", "body", "allowed"),
    [
        ("GET", "/activity?kind=nonsense", None, "catch_up_error"),
        ("GET", "/requests?state=nonsense", None, "cancelled, completed, error, running, waiting"),
        ("GET", "/refused-records?half=nonsense", None, "dataverse"),
        ("POST", "/alert-rules", {"name": "x", "error_types": ["half_away", "nonsense"]}, "schema_changed"),
        ("POST", "/alert-rules", {"name": "x", "threshold": {"unit": "nonsense"}}, "days, hours, minutes, seconds"),
        ("POST", "/run", {"table_maps": [], "masters": {"x": "nonsense"}}, "dataverse"),
    ],
)
async def test_a_value_that_is_none_of_the_allowed_ones_is_refused_with_these(
    api: httpx.AsyncClient, method: str, path: str, body: Any, allowed: str
) -> None:
    refused = await api.request(method, path, json=body)
    assert refused.status_code == 400
    detail = refused.json()["detail"]
    assert "'nonsense'" in detail and allowed in detail.partition("there are: ")[2]


async def test_the_description_is_complete_and_true(api: httpx.AsyncClient, halves: Environment) -> None:
    """Every call is described, every description is a call, and every schema that is named is there."""
    document = (await api.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    calls = {(call.method.lower(), call.path) for call in halves.management.endpoints}
    assert described == calls
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            assert call["summary"].endswith("."), path
            named = {parameter["name"] for parameter in call.get("parameters", ()) if parameter["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path)), path
            address = re.sub(r"{\w*id}", NO_ID, re.sub(r"{(?!\w*id})\w+}", "none", path))
            if path == "/stream":
                continue
            answered = await api.request(method.upper(), address, content=None if method == "get" else b"{}")
            assert answered.status_code < 500, (method, path, answered.text)
            assert answered.json().get("code") != "segment_not_found" if answered.status_code == 404 else True, path
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= document["components"]["schemas"].keys()
    assert len({call["operationId"] for methods in document["paths"].values() for call in methods.values()}) == len(
        calls
    )


async def test_every_call_is_in_the_reference(halves: Environment) -> None:
    text = REFERENCE.read_text("utf-8")
    calls = [*halves.management.endpoints, *halves.management_calls.endpoints]
    assert [call.path for call in calls if f"| `{call.method} {call.path}` | {call.summary} |" not in text] == []
    assert len(re.findall(r"^\| `[A-Z]+ /", text, re.MULTILINE)) == len(calls)


async def test_lists_are_given_page_by_page(api: httpx.AsyncClient, halves: Environment) -> None:
    await halves.activity.record(*(Entry(kind="repaired", table_map="paged", message=f"{n}.") for n in range(5)))
    seen, after = [], None
    for _ in range(3):
        page = (
            await api.get("/activity", params={"table_map": "paged", "limit": 2} | ({"after": after} if after else {}))
        ).json()
        seen += [entry["message"] for entry in page["items"]]
        after = page["next"]
    assert (seen, after) == (["4.", "3.", "2.", "1.", "0."], None)


async def test_entries_name_who_did_it(api: httpx.AsyncClient, halves: Environment) -> None:
    shared = {"table_map": "named", "message": "Done."}
    own = Entry(kind="repaired", principal="isthmus", **shared)
    ids = await halves.activity.record(Entry(kind="repaired", principal=CALLER.object_id, **shared), own)
    sought = "select fullname from dataverse.systemuser where azureactivedirectoryobjectid = $1"
    name = await halves.dataverse_app.pool.origin.fetchval(sought, UUID(CALLER.object_id))
    page = (await api.get("/activity", params={"table_map": "named"})).json()["items"]
    assert [entry["who"] for entry in page] == [None, name]
    assert (await api.get(f"/activity/{ids[0]}")).json()["who"] == name


async def test_a_run_that_refuses_records_of_one_table_map_is_completed_for_the_others(
    api: httpx.AsyncClient, halves: Environment
) -> None:
    names = {"table_maps": [UNITS, CURRENCIES]}
    await ended(api, await api.post("/stop", json=names))
    (id_,) = await create(halves.finops_app, "CurrencyEntity", {"currencycode": "XWS", "name": "Without symbol"})
    run = await ended(api, await api.post("/run", json=names | {"needed": False, "master": "finops"}))
    assert (run["state"], run["code"]) == ("error", "initial_sync_refused")
    last = {one["name"]: one["last_request"] for one in (await api.get("/table-maps")).json() if one["last_request"]}
    assert (last[CURRENCIES]["state"], last[UNITS]["state"]) == ("error", "completed")
    assert "refused" in last[CURRENCIES]["message"] and last[UNITS]["message"] is None
    await delete(halves.finops_app, "CurrencyEntity", id_)
    await ended(api, await api.post("/run", json={"table_maps": [CURRENCIES], "needed": False}))


async def test_activity_as_a_file(api: httpx.AsyncClient, halves: Environment) -> None:
    await halves.activity.record(Entry(kind="repaired", table_map="filed", message='=1+1, "quoted".'))
    file = await api.get("/activity.csv", params={"table_map": "filed"})
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="activity.csv"' in file.headers["content-disposition"]
    heading, line = list(csv.reader(io.StringIO(file.text)))
    assert dict(zip(heading, line, strict=True))["message"] == '\'=1+1, "quoted".'


async def test_a_request_that_is_sent_again_has_one_effect(api: httpx.AsyncClient) -> None:
    body, key = {"name": "only once", "action": "pause"}, {"idempotency-key": "once-1"}
    first = await api.post("/alert-rules", json=body, headers=key)
    again = await api.post("/alert-rules", json=body, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    other = await api.post("/alert-rules", json=body | {"name": "another"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    free = {"idempotency-key": "once-2"}
    assert (await api.post("/alert-rules", json=body, headers=free)).status_code == 409
    assert (await api.delete(f"/alert-rules/{first.json()['id']}")).status_code == 204
    created = await api.post("/alert-rules", json=body, headers=free)
    assert created.status_code == 201
    await api.delete(f"/alert-rules/{created.json()['id']}")


async def test_requests_with_one_key_at_once_are_one(api: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "together"}
    body = {"name": "together", "action": "stop"}
    answers = await asyncio.gather(*(api.post("/alert-rules", json=body, headers=key) for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {201, 503}
    created = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(created) == 1
    await api.delete(f"/alert-rules/{created.pop()}")


async def test_alert_rules_are_kept(api: httpx.AsyncClient) -> None:
    created = await api.post("/alert-rules", json={"name": "many errors", "action": "pause"})
    assert created.status_code == 201
    id_ = created.json()["id"]
    changed = await api.put(f"/alert-rules/{id_}", json={"name": "many errors", "action": "stop"})
    assert changed.json()["rule"]["action"] == "stop"
    assert [one["id"] for one in (await api.get("/alert-rules")).json()] == [id_]
    assert (await api.delete(f"/alert-rules/{id_}")).status_code == 204
    assert (await api.get(f"/alert-rules/{id_}")).status_code == 404
    assert (await api.get("/alerts")).json() == {"items": [], "next": None}


LONG_AGO = "update isthmus.table_map_state set since = since - interval '1 hour' where table_map = $1"


def states(events: list[dict[str, Any]], name: str) -> list[str]:
    return [one["data"]["state"] for one in events if one["event"] == "table_map" and one["data"]["name"] == name]


async def test_the_stream_shows_what_stands_and_then_what_changes(api: httpx.AsyncClient, halves: Environment) -> None:
    for app in (halves.finops_app, halves.dataverse_app):
        await app.pool.fetch(LONG_AGO, CUSTOMERS)
    count = len((await api.get("/table-maps")).json())
    first, second = Watching(halves), Watching(halves)
    try:
        events = await first.until(lambda events: len({one["data"].get("name") for one in events}) > count - 1)
        assert states(events, UNITS) == ["running"]
        request = await ended(api, await api.post("/pause", json={"table_maps": [UNITS]}))
        for watching in (first, second):
            events = await watching.until(lambda events: states(events, UNITS)[-1:] == ["paused"])
            await watching.until(
                lambda events: any(
                    one["event"] == "request" and one["data"]["id"] == request["id"] and one["data"]["ended_at"]
                    for one in events
                )
            )
        last = events[-1]["id"]
        await first.leave()
        await ended(api, await api.post("/resume", json={"table_maps": [UNITS]}))
        again = Watching(halves, last_event_id=last)
        events = await again.until(lambda events: states(events, UNITS)[-1:] == ["running"])
        assert states(events, CUSTOMERS) == []
        await again.leave()
    finally:
        second.draining.set()
        await asyncio.wait_for(second.task, 5)


async def test_a_stream_ends_with_the_server(halves: Environment) -> None:
    watching = Watching(halves)
    await watching.until(bool)
    watching.draining.set()
    await asyncio.wait_for(watching.task, 2)
    refused = Watching(halves, last_event_id="yesterday")
    await asyncio.wait_for(refused.task, 5)
    assert refused.status == 400
