"""States of table maps: what leads where, the same on both halves always, and the fence that holds writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import product
from typing import Any, get_args

import msgspec
import pytest
from tests.support.callers import CALLER
from tests.support.writing import create, update

from isthmus.apps.again import RunAgain, run_again
from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.config import Settings
from isthmus.dual_write.activity import ActivityFilter
from isthmus.dual_write.fence import State
from isthmus.dual_write.legs import CurrentLegs
from isthmus.dual_write.state_rows import ALLOWED, StateChange
from isthmus.environments.environment import Environment
from isthmus.errors import Rejected, Retriable
from isthmus.store import two_phase
from isthmus.store.transaction import Transaction

GROUPS = "msdyn_customergroups - Customer groups"
TERMS = "msdyn_paymentterms - Terms of payment"
BY = "somebody"


@pytest.fixture(scope="session")
async def linked(templates: dict[str, str], new_database: Callable[..., Awaitable[str]]) -> AsyncIterator[Environment]:
    """An environment of these tests' own: they stop its table maps."""
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    environment = await Environment.open(Settings(pool_size=5, **addresses))
    try:
        await create(environment.finops_app, "OMLegalEntity", {"legalentityid": "stat", "name": "States"})
        yield environment
    finally:
        await environment.close()


@pytest.fixture
async def running(linked: Environment) -> Environment:
    """The same, with both table maps running and nothing queued."""
    for app in (linked.finops_app, linked.dataverse_app):
        await app.pool.origin.execute("delete from isthmus.queued_change")
    await force(linked, GROUPS, "running")
    await force(linked, TERMS, "running")
    return linked


async def force(environment: Environment, table_map: str, state: State) -> None:
    """Write a state into both halves, past all rules."""
    for app in (environment.finops_app, environment.dataverse_app):
        await app.pool.origin.execute(
            "update isthmus.table_map_state set state = $2, reason = null, version = null where table_map = $1",
            table_map,
            state,
        )


async def states(environment: Environment, table_map: str) -> tuple[State, State]:
    """The state on F&O and on Dataverse."""
    found = environment.dual_write.states
    return (
        (await found.read([table_map], half="finops"))[table_map].state,
        (await found.read([table_map], half="dataverse"))[table_map].state,
    )


async def new_group(environment: Environment, name: str) -> int:
    (recid,) = await create(
        environment.finops_app,
        "CustCustomerGroupEntity",
        {"dataareaid": "stat", "customergroupid": name, "description": "New"},
    )
    return int(recid)


async def group_on_dataverse(environment: Environment, name: str) -> Any:
    return await environment.dataverse_app.pool.origin.fetchrow(
        "select * from dataverse.msdyn_customergroup where msdyn_groupid = $1", name
    )


async def test_shipped_table_maps_run_in_a_new_environment_on_both_halves(linked: Environment) -> None:
    await force(linked, GROUPS, "running")
    await force(linked, TERMS, "running")
    for half in ("finops", "dataverse"):
        found = await linked.dual_write.states.read(half=half)
        assert found.keys() == linked.finops_app.catalog.table_maps.keys()
        assert {state.state for state in found.values()} == {"running"}


async def test_table_map_that_nobody_knows_of_is_not_running(linked: Environment) -> None:
    assert (await linked.dual_write.states.read(["new - one"]))["new - one"].state == "not_running"


@pytest.mark.parametrize(("before", "after"), [*product(get_args(State), get_args(State))])
async def test_transitions_are_those_of_the_specification(running: Environment, before: State, after: State) -> None:
    await force(running, GROUPS, before)
    if after == before:
        assert await running.dual_write.states.change([GROUPS], after, by=BY) == []
    elif after in ALLOWED[before]:
        (change,) = await running.dual_write.states.change([GROUPS], after, by=BY)
        assert (change.before, change.after, change.by) == (before, after, BY)
    else:
        with pytest.raises(Rejected, match=before.replace("_", " ")) as refusal:
            await running.dual_write.states.change([GROUPS], after, by=BY)
        assert refusal.value.code == "table_map_transition"
        after = before
    assert await states(running, GROUPS) == (after, after)


async def test_several_change_together_or_not_at_all(running: Environment) -> None:
    await force(running, TERMS, "not_running")
    with pytest.raises(Rejected, match="Terms of payment"):
        await running.dual_write.states.change([GROUPS, TERMS], "paused", by=BY)
    assert await states(running, GROUPS) == ("running", "running")


async def test_change_of_state_stands_in_the_activity_log_with_who_and_why(running: Environment) -> None:
    await running.dual_write.states.change([GROUPS], "paused", by=BY, reason="manual")
    (entry,) = await running.activity.entries(ActivityFilter(table_map=GROUPS), limit=1)
    assert (entry.kind, entry.principal) == ("paused", BY)
    assert entry.message == "The table map went from running to paused (manual)."


async def test_change_of_state_waits_for_a_save_and_the_next_save_sees_it(running: Environment) -> None:
    recid = await new_group(running, "WAIT")
    app = running.finops_app
    pausing: asyncio.Task[list[StateChange]] | None = None
    async with app.context(CALLER, correlation_id="test") as context:
        row = Row(id=recid, values={"description": "Before"})
        await app.execute(context, Message(operation=Operation.UPDATE, table="CustCustomerGroupEntity", rows=[row]))
        pausing = asyncio.create_task(running.dual_write.states.change([GROUPS], "paused", by=BY))
        await asyncio.sleep(0.7)
        assert not pausing.done()
        await context.commit()
    await asyncio.wait_for(pausing, 5)
    assert (await group_on_dataverse(running, "WAIT"))["msdyn_description"] == "Before"
    await update(app, "CustCustomerGroupEntity", {recid: {"description": "After"}})
    assert (await group_on_dataverse(running, "WAIT"))["msdyn_description"] == "Before"


async def test_save_that_waits_for_the_fence_goes_by_the_state_that_stands_then(running: Environment) -> None:
    recid = await new_group(running, "FENCE")
    release = asyncio.Event()
    saving: list[asyncio.Task[None]] = []

    async def slow(origin: Transaction, partner: Transaction, gid: str) -> None:
        saving.append(
            asyncio.create_task(update(running.finops_app, "CustCustomerGroupEntity", {recid: {"description": "Late"}}))
        )
        await asyncio.sleep(0.3)
        assert not saving[0].done(), "the fence holds it"
        release.set()
        await true_prepare(origin, partner, gid)

    true_prepare = two_phase._prepare
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_phase, "_prepare", slow)
        await running.dual_write.states.change([GROUPS], "paused", by=BY)
    await asyncio.wait_for(saving[0], 5)
    assert release.is_set()
    assert (await group_on_dataverse(running, "FENCE"))["msdyn_description"] == "New"


async def test_busy_writers_on_both_halves_are_held_for_moments_only(running: Environment) -> None:
    recids = [await new_group(running, f"BUSY{number}") for number in range(4)]
    rows = [(await group_on_dataverse(running, f"BUSY{number}"))["msdyn_customergroupid"] for number in range(4)]
    stop = False

    async def write(app: Any, table: str, id_: Any, column: str) -> int:
        """Fails when a save has waited for so long that a time-out ended it: then two waited for each other."""
        count = 0
        while not stop:
            await update(app, table, {id_: {column: f"{count}"}})
            count += 1
        return count

    writers = [
        asyncio.create_task(write(app, table, id_, column))
        for app, table, ids, column in (
            (running.finops_app, "CustCustomerGroupEntity", recids, "description"),
            (running.dataverse_app, "msdyn_customergroup", rows, "msdyn_description"),
        )
        for id_ in ids
    ]
    for _ in range(6):
        await running.dual_write.states.change([GROUPS], "paused", by=BY)
        await running.dual_write.states.change([GROUPS], "running", by=BY, queued="discard")
    stop = True
    assert min(await asyncio.gather(*writers)) > 0


@pytest.mark.parametrize("left", ["committed", "aborted"])
async def test_change_that_dies_between_its_phases_is_on_both_halves_or_on_none(
    running: Environment, left: str
) -> None:
    gids: list[str] = []

    async def die(partner: Transaction, gid: str) -> bool:
        gids.append(gid)
        return False

    async def die_before(origin: Transaction, partner: Transaction, gid: str) -> None:
        gids.append(gid)
        await partner.prepare(gid)
        raise Retriable("dead", code="dead")

    with pytest.MonkeyPatch.context() as patch:
        if left == "committed":
            patch.setattr(two_phase, "_finish_partner", die)
            await running.dual_write.states.change([GROUPS], "paused", by=BY)
        else:
            patch.setattr(two_phase, "_prepare", die_before)
            with pytest.raises(Retriable):
                await running.dual_write.states.change([GROUPS], "paused", by=BY)
    assert await running.recovery.resolve(gids[0]) == left
    state: State = "paused" if left == "committed" else "running"
    assert await states(running, GROUPS) == (state, state)


async def test_half_that_paused_alone_is_met_with_a_request_to_try_again(
    running: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_away() -> None:
        pass

    await new_group(running, "ALONE")
    row = (await group_on_dataverse(running, "ALONE"))["msdyn_customergroupid"]
    monkeypatch.setattr(running.dual_write._watch, "look", look_away)
    await asyncio.sleep(0.5)
    await running.dual_write.states.pause_alone([GROUPS], "finops", by=BY)
    assert await states(running, GROUPS) == ("paused", "running")
    with pytest.raises(Retriable) as met:
        await update(running.dataverse_app, "msdyn_customergroup", {row: {"msdyn_description": "Never"}})
    assert met.value.code == "table_map_changing"
    with pytest.raises(Retriable) as met:
        await running.dual_write.states.change([GROUPS], "not_running", by=BY)
    assert met.value.code == "table_map_changing"
    assert await running.dual_write.states.reconcile(by=BY) == [GROUPS]
    assert await states(running, GROUPS) == ("paused", "paused")
    assert (await running.dual_write.states.read([GROUPS]))[GROUPS].reason == "partner_away"


async def test_halves_that_differ_for_no_known_reason_are_paused(running: Environment) -> None:
    await running.dataverse_app.pool.origin.execute(
        "update isthmus.table_map_state set state = 'not_running' where table_map = $1", GROUPS
    )
    assert await running.dual_write.states.reconcile(by=BY) == []
    assert await states(running, GROUPS) == ("paused", "paused")
    assert (await running.dual_write.states.read([GROUPS]))[GROUPS].reason == "states_differ"


async def test_definition_changes_only_while_stopped(running: Environment) -> None:
    with pytest.raises(Rejected, match="stop it") as refusal:
        await running.dual_write.states.choose(GROUPS, None, by=BY)
    assert refusal.value.code == "table_map_not_stopped"


async def test_process_with_older_table_maps_compiles_them_anew_before_it_saves(running: Environment) -> None:
    """Another process chose a version without the description; this one has not heard of it."""
    recid = await new_group(running, "GEN")
    legs = running.dual_write.legs
    true_load, true_now = legs._load, legs.now
    shipped = running.finops_app.catalog.table_maps[GROUPS]
    rows = tuple(row for row in shipped.rows if row.dataverse != "msdyn_description")
    edited = msgspec.structs.replace(shipped, rows=rows)

    async def load() -> Any:
        return {**await true_load(), GROUPS: edited}

    legs._load = load
    try:
        await running.dual_write.states.change([GROUPS], "not_running", by=BY)
        await running.dual_write.states.choose(GROUPS, None, by=BY)
        await running.dual_write.states.change([GROUPS], "running", by=BY)
        await update(running.finops_app, "CustCustomerGroupEntity", {recid: {"description": "Unmapped"}})
        assert (await group_on_dataverse(running, "GEN"))["msdyn_description"] == "New"
        assert legs.now is not true_now
        assert legs.now.by_map[TERMS, "finops"] is true_now.by_map[TERMS, "finops"], "only what changed is compiled"
    finally:
        legs._load = true_load
        legs.now = true_now


async def test_save_that_concerned_no_table_map_finds_out_as_it_commits(running: Environment) -> None:
    """There may be one for its table now: it is run again with the table maps of the new generation."""
    app, legs, runs = running.dataverse_app, running.dual_write.legs, 0

    async def write() -> None:
        nonlocal runs
        runs += 1
        async with app.context(CALLER, correlation_id="test") as context:
            row = Row(values={"subject": f"Run {runs}"})
            await app.execute(context, Message(operation=Operation.CREATE, table="task", rows=[row]))
            await context.settle()
            for half in (running.finops_app, app) if runs == 1 else ():
                await half.pool.origin.execute("update isthmus.table_map_generation set generation = generation + 1")
            await context.commit()

    await legs.refresh()
    before = legs.generation
    await run_again(write)
    assert (runs, legs.generation) == (2, before + 1)
    found = await app.pool.origin.fetch("select subject from dataverse.task")
    assert [row["subject"] for row in found] == ["Run 2"]


async def test_generation_that_does_not_stand_on_dataverse_yet_is_waited_for(running: Environment) -> None:
    """It commits on F&O an instant before: what is loaded then is that of the generation before."""
    legs = running.dual_write.legs
    stands, loads = 4, 0

    async def load() -> Any:
        nonlocal loads
        loads += 1
        return legs.now.catalog.table_maps

    async def load_generation() -> int:
        return stands

    current = CurrentLegs(legs.now, 4, load, load_generation)
    waiting = asyncio.create_task(current.at(5))
    await asyncio.sleep(0.1)
    assert (waiting.done(), loads) == (False, 0)
    stands = 6
    assert await asyncio.wait_for(waiting, 2) is legs.now
    assert (current.generation, loads) == (6, 1)


async def test_write_that_is_never_content_is_given_up() -> None:
    runs = 0

    async def write() -> None:
        nonlocal runs
        runs += 1
        raise RunAgain("Not yet.", code="table_map_changing")

    with pytest.raises(Retriable, match="Not yet"):
        await run_again(write)
    assert runs == 5
