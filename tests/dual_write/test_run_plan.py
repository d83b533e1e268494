"""The plan of a run says what initial sync then does; the plan of a pause which running maps need the paused ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.both_halves import BothHalves
from tests.support.writing import create, delete

from isthmus import solutions
from isthmus.apps.principal import Half
from isthmus.dual_write.fence import State
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.run_counts import CompanyCounts
from isthmus.dual_write.run_plan import RunPlan, RunPlanner, needed_maps, pause_plan
from isthmus.errors import NotFound

CATALOG = solutions.catalog()
GROUPS = "msdyn_customergroups - Customer groups"
CUSTOMERS = "accounts - Customers V3"
COMPANIES = "cdm_companies - Legal entities"
TERMS = "msdyn_paymentterms - Terms of payment"
PRODUCTS = "msdyn_globalproducts - All products"
NOTHING: dict[str, State] = {}


@pytest.fixture(scope="module")
def planner(both: BothHalves) -> RunPlanner:
    """Plans over the environment of the world."""
    return RunPlanner({half: app.pool for half, app in both.apps.items()}, Legs(both.catalog))


@asynccontextmanager
async def groups(both: BothHalves, company: str, *numbers: str) -> AsyncIterator[None]:
    """Customer groups on both halves."""
    entity = both.catalog.table_maps[GROUPS].entity
    values = [{"dataareaid": company, "customergroupid": number, "description": number} for number in numbers]
    ids = await create(both.apps["finops"], entity, *values)
    try:
        yield
    finally:
        kept = await both.finops.fetch("select recid from finops.custgroup where recid = any($1)", ids)
        await delete(both.apps["finops"], entity, *(row["recid"] for row in kept))
        await both.dataverse.execute("delete from dataverse.msdyn_customergroup where msdyn_groupid = any($1)", numbers)


@asynccontextmanager
async def apart(both: BothHalves) -> AsyncIterator[None]:
    """In usmf one group that only F&O has, one that only Dataverse has, two that differ; in demf two that are equal."""
    async with groups(both, "usmf", "PLN1", "PLN2", "PLN3", "PLN4"), groups(both, "demf", "PLN5", "PLN6"):
        await both.dataverse.execute("delete from dataverse.msdyn_customergroup where msdyn_groupid = 'PLN1'")
        await both.finops.execute("delete from finops.custgroup where customergroupid = 'PLN2'")
        await both.dataverse.execute(
            "update dataverse.msdyn_customergroup set msdyn_description = 'apart' "
            "where msdyn_groupid in ('PLN3', 'PLN4')"
        )
        yield


async def counts(
    planner: RunPlanner, master: Half, companies: list[str] | None = None, *, newest: bool = False
) -> dict[str | None, CompanyCounts]:
    plan = await planner.plan([GROUPS], NOTHING, master=master, newest=newest, companies=companies, related=False)
    return {found.company: found for found in plan.table_maps[0].companies}


def numbers(found: CompanyCounts) -> tuple[tuple[int, int], tuple[int, int], int]:
    """(inserted, updated) on Dataverse, on F&O, and conflicts."""
    dataverse, finops = found.to_dataverse, found.to_finops
    return (dataverse.insert, dataverse.update), (finops.insert, finops.update), found.conflicts


async def test_what_would_be_written_by_either_master(both: BothHalves, planner: RunPlanner) -> None:
    before = (await counts(planner, "finops"))["usmf"].records
    async with apart(both):
        by_finops, by_dataverse = await counts(planner, "finops"), await counts(planner, "dataverse")
        assert numbers(by_finops["usmf"]) == ((1, 2), (1, 0), 2)
        assert numbers(by_dataverse["usmf"]) == ((1, 0), (1, 2), 2)
        assert numbers((await counts(planner, "finops", newest=True))["usmf"]) == ((1, 0), (1, 0), 2)
        assert by_finops["usmf"].records == {half: records + 3 for half, records in before.items()}
        assert by_finops["usmf"].unchanged == by_dataverse["usmf"].unchanged == before["finops"]
        assert numbers(by_finops["demf"]) == ((0, 0), (0, 0), 0)
        assert by_finops["demf"].unchanged == by_finops["demf"].records["finops"] >= 2


async def test_only_the_companies_asked_for(both: BothHalves, planner: RunPlanner) -> None:
    async with apart(both):
        assert list(await counts(planner, "finops", ["demf"])) == ["demf"]
        assert numbers((await counts(planner, "finops", ["usmf"]))["usmf"]) == ((1, 2), (1, 0), 2)


async def test_a_skipped_initial_sync_writes_nothing(both: BothHalves, planner: RunPlanner) -> None:
    async with apart(both):
        plan = await planner.plan([GROUPS], NOTHING, skip=[GROUPS], related=False)
        (planned,) = plan.table_maps
        assert (planned.skip, planned.sources) == (True, ())
        assert {numbers(found) for found in planned.companies} == {((0, 0), (0, 0), 0)}
        assert {found.company for found in planned.companies} == {"usmf", "demf"}


async def test_of_a_run_of_errors_only_the_rest_is_counted(both: BothHalves, planner: RunPlanner) -> None:
    async with apart(both):
        plan = await planner.plan([GROUPS, TERMS], NOTHING, errors_only=[GROUPS], related=False)
        planned = {one.table_map: one for one in plan.table_maps}
        assert (planned[GROUPS].errors_only, planned[TERMS].errors_only, planned[GROUPS].skip) == (True, False, False)
        assert {numbers(found) for found in planned[GROUPS].companies} == {((0, 0), (0, 0), 0)}


async def test_a_value_without_counterpart_would_be_refused(both: BothHalves, planner: RunPlanner) -> None:
    async with groups(both, "usmf", "PLN7"):
        await both.finops.execute(
            "update finops.custgroup set issalestaxincludedinprice = 7 where customergroupid = 'PLN7'"
        )
        found = (await counts(planner, "finops"))["usmf"]
        assert (found.to_dataverse.refused, numbers(found)) == (1, ((0, 0), (0, 0), 0))


async def test_a_one_way_map_has_one_source_whoever_is_master(planner: RunPlanner) -> None:
    masters: tuple[Half, ...] = ("finops", "dataverse")
    for master in masters:
        plan = await planner.plan([PRODUCTS], NOTHING, master=master, related=False)
        assert (plan.table_maps[0].sources, plan.table_maps[0].master) == (("finops",), "finops")
        assert all(found.to_finops.insert == found.to_finops.update == 0 for found in plan.table_maps[0].companies)
    plan = await planner.plan([GROUPS], NOTHING, master="dataverse", related=False)
    assert plan.table_maps[0].sources == ("dataverse", "finops")
    plan = await planner.plan([GROUPS], NOTHING, master="dataverse", masters={GROUPS: "finops"}, related=False)
    assert (plan.table_maps[0].sources, plan.table_maps[0].master) == (("finops", "dataverse"), "finops")


async def test_needed_maps_come_first_and_say_for_whom(planner: RunPlanner) -> None:
    plan: RunPlan = await planner.plan([CUSTOMERS], {TERMS: "running"}, master="finops")
    names = [planned.table_map for planned in plan.table_maps]
    assert names[-1] == CUSTOMERS and TERMS not in names and COMPANIES in names
    assert [planned.place for planned in plan.table_maps] == list(range(1, len(names) + 1))
    added = {planned.table_map: planned.added for planned in plan.table_maps}
    assert added.pop(CUSTOMERS) is False and set(added.values()) == {True}
    groups_ = next(planned for planned in plan.table_maps if planned.table_map == GROUPS)
    assert CUSTOMERS in groups_.needed_by
    assert plan.missing == ()
    assert {reference.column for reference in plan.self_references} >= {"msdyn_billingaccount"}


async def test_needed_maps_that_are_left_out_are_named(planner: RunPlanner) -> None:
    plan = await planner.plan([GROUPS], {COMPANIES: "running"}, related=False)
    assert {edge.needs for edge in plan.missing} == {TERMS}
    assert {edge.column for edge in plan.missing} == {"msdyn_paymenttermid", "msdyn_clearingperiodpaymenttermname"}


def test_running_maps_are_not_run_again() -> None:
    states: dict[str, State] = dict.fromkeys(CATALOG.table_maps, "running")
    assert needed_maps([GROUPS], states, CATALOG) == (GROUPS,)
    assert needed_maps([GROUPS], {**states, TERMS: "not_running"}, CATALOG) == (TERMS, GROUPS)


def test_a_pause_offers_the_running_maps_that_need_it() -> None:
    states: dict[str, State] = {CUSTOMERS: "running", TERMS: "running", GROUPS: "running"}
    plan = pause_plan([TERMS], states, CATALOG)
    assert plan.table_maps == (TERMS,)
    assert [dependent.table_map for dependent in plan.dependents] == [CUSTOMERS, GROUPS]
    (because,) = {(edge.needs, edge.table) for edge in plan.dependents[1].because}
    assert because == (TERMS, "msdyn_paymentterm")
    assert {edge.needs for edge in plan.dependents[0].because} == {TERMS, GROUPS}
    assert pause_plan([CUSTOMERS], states, CATALOG).dependents == ()
    with pytest.raises(NotFound):
        pause_plan(["no such map"], states, CATALOG)
