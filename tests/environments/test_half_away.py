"""A server process that starts while a half is away serves the other one, and both as soon as it is back."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.conftest import NewDatabase
from tests.support.callers import CALLER
from tests.support.cuttable import Cuttable
from tests.support.watching import Watching
from tests.support.writing import call, create

from isthmus.apps.principal import Half, Principal
from isthmus.config import Settings
from isthmus.dual_write.activity import ActivityFilter
from isthmus.dual_write.alert_watch import act_by
from isthmus.dual_write.leg import PARTNER
from isthmus.dual_write.map_state import HALVES, MapStates
from isthmus.dual_write.state_watch import StateWatch
from isthmus.environments import dual_write
from isthmus.environments.environment import Environment
from isthmus.ids import new_gid
from isthmus.metadata.table_map import FieldMapping, Transform

GROUPS = "msdyn_customergroups - Customer groups"
TERMS = "msdyn_paymentterms - Terms of payment"
numbers = count(1)

GROUP = "/data/CustomerGroups(dataAreaId='away',CustomerGroupId='{}')?cross-company=true"


class Site:
    """Databases that can be cut off, filled by a process that has ended."""

    def __init__(self, wires: dict[str, Cuttable]) -> None:
        self.wires = wires
        self.settings = Settings(pool_size=5, **{f"{kind}_dsn": wire.dsn for kind, wire in wires.items()})

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Environment]:
        environment = await Environment.open(self.settings)
        try:
            yield environment
        finally:
            await environment.close()

    async def fill(self) -> None:
        """A company with a group and a term; groups pause themselves and run in a version of their own."""
        async with self.process() as environment:
            finops, states = environment.finops_app, environment.dual_write.states
            versions = environment.dual_write.versions
            await create(finops, "OMLegalEntity", {"legalentityid": "AWAY", "name": "Away"})
            for name in ("1", "2"):
                values = {"dataareaid": "away", "customergroupid": name, "description": "Old"}
                await create(finops, "CustCustomerGroupEntity", values)
            await create(finops, "PaymentTermEntity", {"dataareaid": "away", "name": "30", "description": "Old"})
            shipped = finops.catalog.table_maps[GROUPS]
            loud = FieldMapping(
                finops="DESCRIPTION",
                arrow=">>",
                dataverse="msdyn_description",
                transform=Transform(to_dataverse="upper(DESCRIPTION)"),
            )
            rows = (*(row for row in shipped.rows if row.dataverse != loud.dataverse), loud)
            edited = msgspec.structs.replace(shipped, rows=rows, version="9.0.0.0", publisher="Test")
            await states.change([GROUPS], "not_running", by="test")
            await versions.choose(GROUPS, await versions.save(edited, CALLER), by="test")
            await states.change([GROUPS], "running", by="test", pauses_itself=True)
            assert (await call_management(environment, "GET", "/table-maps"))[0] == 200


async def call_management(
    environment: Environment, method: str, path: str, body: Any = None, principal: Principal = CALLER
) -> tuple[int, Any]:
    return await call(environment.management, method, f"/api/isthmus/v1{path}", body, principal)


async def eventually(look: Callable[[], Awaitable[Any]]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(20):
        while not await look():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def until_live(environment: Environment) -> None:
    """Wait until what the groups' table map has queued is delivered."""

    async def is_live() -> bool:
        found = [(await environment.dual_write.states.read([GROUPS], half))[GROUPS] for half in HALVES]
        queued = [await environment.dual_write.queue.list(half, GROUPS) for half in HALVES]
        return [one.state for one in found] == ["running"] * 2 and not any(queued)

    await eventually(is_live)


@pytest.fixture(scope="module")
async def filled(templates: dict[str, str], new_database: NewDatabase) -> AsyncIterator[Site]:
    with tempfile.TemporaryDirectory(prefix="away") as folder:
        wires = {}
        for kind, template in templates.items():
            (Path(folder) / kind).mkdir()
            wires[kind] = Cuttable(await new_database(template), Path(folder) / kind)
            await wires[kind].mend()
        site = Site(wires)
        await site.fill()
        yield site
        for wire in wires.values():
            await wire.cut()


@pytest.fixture
async def site(filled: Site) -> AsyncIterator[Site]:
    yield filled
    for wire in filled.wires.values():
        await wire.mend()


async def test_process_starts_without_dataverse_and_goes_on_with_it(site: Site) -> None:
    async with site.process() as before:
        gid = new_gid(before.dual_write.link, "finops")
        async with before.dataverse_app.pool.partner.acquire() as connection:
            await connection.execute("begin; create table left_behind ()")
            await connection.execute(f"prepare transaction '{gid}'")
    await site.wires["dataverse"].cut()
    async with site.process() as environment:
        assert not await environment.ready()
        status, _ = await call(environment.finops, "PATCH", GROUP.format("1"), {"Description": "Queued"})
        assert status == 204, "the map pauses itself"
        (queued,) = await environment.dual_write.queue.list("finops", GROUPS)
        assert queued.record.values["msdyn_description"] == "QUEUED", "in the version chosen"
        term = "/data/PaymentTerms(dataAreaId='away',Name='30')?cross-company=true"
        status, answer = await call(environment.finops, "PATCH", term, {"Description": "Refused"})
        assert (status, answer["error"]["innererror"]["type"]) == (503, "System.InvalidOperationException")
        assert (await call(environment.finops, "GET", term))[1]["Description"] != "Refused"
        status, answer = await call(environment.dataverse, "GET", "/api/data/v9.2/msdyn_customergroups")
        assert (status, answer["error"]["code"]) == (503, "0x80044150")
        await site.wires["dataverse"].mend()
        await until_live(environment)

        async def is_settled() -> bool:
            return await environment.recovery.in_doubt() == []

        await eventually(is_settled)
        assert await description(environment, "1") == "QUEUED"
        assert await environment.recovery.resolve(gid) == "aborted"
        assert (await call(environment.finops, "PATCH", term, {"Description": "By F&O"}))[0] == 204
        assert await environment.ready()


async def test_process_starts_without_finops_and_goes_on_with_it(site: Site) -> None:
    await site.wires["finops"].cut()
    async with site.process() as environment:
        groups = "/api/data/v9.2/msdyn_customergroups"
        status, found = await call(environment.dataverse, "GET", f"{groups}?$filter=msdyn_groupid eq '2'")
        assert (status, len(found["value"])) == (200, 1)
        row = f"/api/data/v9.2/msdyn_paymentterms({await term_id(environment)})"
        status, answer = await call(environment.dataverse, "PATCH", row, {"msdyn_description": "Refused"})
        assert (status, answer["error"]["code"]) == (503, "0x80044150")
        assert (await call(environment.finops, "GET", GROUP.format("2")))[0] == 503
        group = f"{groups}({found['value'][0]['msdyn_customergroupid']})"
        assert (await call(environment.dataverse, "PATCH", group, {"msdyn_issalestaxincludedinprice": True}))[0] == 204
        assert len(await environment.dual_write.queue.list("dataverse", GROUPS)) == 1, "the map pauses itself"
        await site.wires["finops"].mend()
        assert (await call(environment.dataverse, "PATCH", row, {"msdyn_description": "By Dataverse"}))[0] == 204
        assert (await call(environment.finops, "GET", GROUP.format("2")))[0] == 200
        await until_live(environment)


async def test_schemas_are_checked_once_both_halves_are_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hold(dataverse: Any, catalog: Any, states: MapStates, activity: Any) -> None:
        await states.change([TERMS], "paused", by="test", reason="schema")

    monkeypatch.setattr(dual_write, "hold_what_does_not_fit", hold)
    await site.wires["dataverse"].cut()
    async with site.process() as environment:
        states = environment.dual_write.states
        assert (await states.read([TERMS]))[TERMS].state == "running"
        await site.wires["dataverse"].mend()

        async def is_held() -> bool:
            return (await states.read([TERMS]))[TERMS].reason == "schema"

        await eventually(is_held)
        await states.change([TERMS], "running", by="test")
        await environment.dual_write._watch.look()
        assert not await is_held()


@pytest.mark.parametrize("away", ["dataverse", "finops"])
async def test_table_maps_are_shown_and_paused_while_a_half_is_away(site: Site, away: Half) -> None:
    there = PARTNER[away]
    async with site.process() as environment:
        states = environment.dual_write.states
        stream = Watching(environment)
        await stream.until(lambda events: len(events) > 100)
        await site.wires[away].cut()
        await stream.until(lambda events: any(one["data"].get("halves_away") == [away] for one in events))
        status, listed = await call_management(environment, "GET", "/table-maps")
        assert (status, {tuple(one["halves_away"]) for one in listed}) == (200, {(away,)})
        assert {one["state"] for one in listed} == {"running"}
        path = f"/table-maps/{TERMS}"
        assert (await call_management(environment, "GET", path))[1]["summary"]["state"] == "running"
        assert (await call_management(environment, "GET", "/graph"))[0] == 200
        status, request = await call_management(environment, "POST", "/pause", {"table_maps": [TERMS]})
        assert status == 202

        async def has_ended() -> bool:
            return (await call_management(environment, "GET", f"/requests/{request['id']}"))[1]["state"] == "completed"

        await eventually(has_ended)
        status = await save_term(environment, there)
        assert status == 204
        shown = (await call_management(environment, "GET", path))[1]["summary"]
        assert (shown["state"], shown["reason"], shown["waiting"]) == ("paused", "manual", 1)
        await stream.until(lambda events: any(one["data"].get("reason") == "manual" for one in events))
        await site.wires[away].mend()

        async def agree() -> bool:
            found = [(await states.read([TERMS], half))[TERMS] for half in (there, away)]
            return [(one.state, one.reason) for one in found] == [("paused", "manual")] * 2

        await eventually(agree)
        assert await states.reconcile(by="test") == [], "what somebody paused doesn't resume by itself"
        await stream.leave()
        entries = await environment.activity.entries(ActivityFilter(table_map=TERMS))
        assert [entry.kind for entry in entries][:2] == ["paused", "paused"]
        await states.change([TERMS], "running", by="test", queued="discard")


async def save_term(environment: Environment, half: Half) -> int:
    """Change the term by way of a half; the status answered."""
    new = f"Saved {next(numbers)}"
    if half == "finops":
        path = "/data/PaymentTerms(dataAreaId='away',Name='30')?cross-company=true"
        status, _ = await call(environment.finops, "PATCH", path, {"Description": new})
    else:
        path = f"/api/data/v9.2/msdyn_paymentterms({await term_id(environment)})"
        status, _ = await call(environment.dataverse, "PATCH", path, {"msdyn_description": new})
    return status


async def test_who_paused_a_map_decides_over_the_half_that_paused_itself(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_away(self: StateWatch) -> None:
        pass

    monkeypatch.setattr(StateWatch, "look", look_away)
    async with site.process() as environment:
        states = environment.dual_write.states
        sides: list[tuple[Half, Half]] = [("dataverse", "finops"), ("finops", "dataverse")]
        for by_hand, by_itself in sides:
            await states.change([TERMS], "running", by="test")
            await site.wires[by_itself].cut()
            await act_by(states)(TERMS, "pause", "Errors")
            await site.wires[by_itself].mend()
            await states.pause_alone([TERMS], by_itself, by="isthmus")
            assert await states.reconcile(by="test") == []
            found = [(await states.read([TERMS], half))[TERMS] for half in (by_hand, by_itself)]
            assert [one.reason for one in found] == ["alert:Errors"] * 2
        await states.change([TERMS], "running", by="test")


async def test_who_was_admitted_before_is_while_dataverse_is_away(site: Site) -> None:
    await site.wires["dataverse"].cut()
    async with site.process() as environment:
        assert (await call_management(environment, "GET", "/requests"))[0] == 200
        unknown = msgspec.structs.replace(CALLER, object_id="99999999-2222-4333-8444-555555555555")
        status, problem = await call_management(environment, "GET", "/requests", principal=unknown)
        assert (status, problem["code"]) == (503, "unavailable")
        await site.wires["dataverse"].mend()
        assert (await call_management(environment, "GET", "/requests", principal=unknown))[0] == 403


async def description(environment: Environment, group: str) -> str:
    sql = "select msdyn_description from dataverse.msdyn_customergroup where msdyn_groupid = $1"
    return str(await environment.dataverse_app.pool.origin.fetchval(sql, group))


async def term_id(environment: Environment) -> Any:
    sql = "select msdyn_paymenttermid from dataverse.msdyn_paymentterm where msdyn_name = '30'"
    return await environment.dataverse_app.pool.origin.fetchval(sql)
