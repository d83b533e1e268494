"""All table maps in one run: the plan says beforehand what initial sync does, and compare finds nothing afterwards."""

from __future__ import annotations

import pytest
from tests.support.initial_sync import NewDatabase, Run, Side, opened

from isthmus.apps.principal import Half
from isthmus.dual_write.compare import Compare
from isthmus.dual_write.initial_sync import Summary
from isthmus.dual_write.run_plan import RunPlan, RunPlanner

GROUPS = "msdyn_customergroups - Customer groups"
Counts = dict[tuple[str, str], tuple[int, int]]


def shares_its_table(run: Run, table_map: str) -> bool:
    """Whether another map writes rows of the same table: what that one has inserted by then, this one finds."""
    catalog = run.halves.catalog
    return len(catalog.maps_of_table[catalog.table_maps[table_map].table]) > 1


def planned(plan: RunPlan) -> Counts:
    """(inserted, updated) towards Dataverse by table map and company."""
    return {
        (one.table_map, found.company or ""): (found.to_dataverse.insert, found.to_dataverse.update)
        for one in plan.table_maps
        if "finops" in one.sources
        for found in one.companies
        if found.records["finops"]
    }


def done(summary: Summary) -> Counts:
    """The same of a run."""
    return {
        (part.table_map, part.company): (part.inserted, part.updated)
        for part in summary.parts
        if part.source == "finops" and part.total
    }


async def differing(run: Run) -> dict[str, int]:
    """The table maps whose halves differ, by the number of their differences."""
    reports = [await _compare(run).run(name) for name in run.names]
    assert sum(report.equal for report in reports) > len(run.names)
    return {report.table_map: report.differing for report in reports if report.differing or report.unsettled}


def _compare(run: Run) -> Compare:
    return Compare(_pools(run), run.environment.dual_write.legs.now)


def _pools(run: Run) -> dict[Half, object]:
    return {half: app.pool for half, app in run.halves.apps.items()}


@pytest.mark.timeout(900)
async def test_the_plan_is_what_initial_sync_does(
    filled: Side, templates: dict[str, str], new_database: NewDatabase
) -> None:
    async with opened(filled.with_empty("dataverse", templates), new_database) as run:
        planner = RunPlanner(_pools(run), run.environment.dual_write.legs.now)
        first = await planner.plan(run.names, {}, master="finops")
        assert len(first.table_maps) == 135 and first.missing == ()
        assert sum(inserted for inserted, _ in planned(first).values()) > 135
        await run.bring("initializing")
        expected, found = planned(first), done(await run.run(master="finops"))
        assert found.keys() == expected.keys()
        unexpected = {
            table_map for table_map, company in found if found[table_map, company] != expected[table_map, company]
        }
        assert all(shares_its_table(run, table_map) for table_map in unexpected)
        assert await differing(run) == {}

        await run.halves.dataverse.execute("update dataverse.msdyn_customergroup set msdyn_description = 'apart'")
        second = await planner.plan([GROUPS], {}, master="finops", related=False)
        assert all(inserted == 0 < updated for inserted, updated in planned(second).values())
        assert done(await run.run(GROUPS, master="finops")) == planned(second)
        assert (await _compare(run).run(GROUPS)).differing == 0
