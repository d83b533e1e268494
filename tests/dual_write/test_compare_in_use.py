"""Compare: records that one half lacks, duplicates, one-way maps, companies - and both halves written meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from tests.support.apart import one_record
from tests.support.both_halves import BothHalves
from tests.support.choices import Seeded
from tests.support.writing import create, delete, update

from isthmus.apps.principal import Half
from isthmus.dual_write import closer_look
from isthmus.dual_write.closer_look import CloserLook, Difference
from isthmus.dual_write.compare import Compare, Report
from isthmus.dual_write.leg_comparison import compile_comparison
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.side_by_side import SideBySide
from isthmus.errors import NotFound, Retriable, Unavailable
from isthmus.finops.data_sources import Compiled

GROUPS = "msdyn_customergroups - Customer groups"
ORDER_LINES = "salesorderdetails - CDS sales order lines"
COLORS = "msdyn_productcolors - Colors"


@pytest.fixture(scope="module")
def compare(both: BothHalves) -> Compare:
    """Compare over the environment of the world."""
    return Compare({half: app.pool for half, app in both.apps.items()}, Legs(both.catalog))


@asynccontextmanager
async def groups(both: BothHalves, *numbers: str, company: str = "usmf") -> AsyncIterator[list[int]]:
    """Customer groups, made on F&O and brought over by live sync."""
    values = [
        {"dataareaid": company, "customergroupid": number, "description": f"group {number}"} for number in numbers
    ]
    entity = both.catalog.table_maps[GROUPS].entity
    ids = await create(both.apps["finops"], entity, *values)
    try:
        yield ids
    finally:
        kept = await both.finops.fetch("select recid from finops.custgroup where recid = any($1)", ids)
        await delete(both.apps["finops"], entity, *(row["recid"] for row in kept))
        await both.dataverse.execute("delete from dataverse.msdyn_customergroup where msdyn_groupid = any($1)", numbers)


async def spoil(both: BothHalves, number: str, description: str) -> None:
    """Change a Dataverse row past live sync."""
    sql = "update dataverse.msdyn_customergroup set msdyn_description = $2 where msdyn_groupid = $1"
    assert await both.dataverse.execute(sql, number, description) == "UPDATE 1"


def keys(differences: list[Difference]) -> list[tuple[str, str]]:
    return [(difference.kind, (difference.key or "").partition(", ")[0]) for difference in differences]


async def test_records_that_one_half_lacks(both: BothHalves, compare: Compare) -> None:
    async with groups(both, "CMP01", "CMP02", "CMP03") as (_, second, _):
        await both.dataverse.execute("delete from dataverse.msdyn_customergroup where msdyn_groupid = 'CMP01'")
        await both.finops.execute("delete from finops.custgroup where recid = $1", second)
        await spoil(both, "CMP03", "spoiled")
        report = await compare.run(GROUPS)
        assert keys(report.differences) == [
            ("missing_in_dataverse", "cmp01"),
            ("missing_in_finops", "cmp02"),
            ("different", "cmp03"),
        ]
        (value,) = report.differences[2].values
        assert (value.field, value.column, value.arrow) == ("Description", "msdyn_description", "=")
        assert (value.finops, value.dataverse) == ("group CMP03", "spoiled")
        assert (value.for_dataverse, value.for_finops) == ("group CMP03", "spoiled")
        assert (report.missing_in_dataverse, report.missing_in_finops, report.different) == (1, 1, 1)
        assert report.equal == report.records["finops"] - 2 == report.records["dataverse"] - 2


async def test_only_the_companies_asked_for(both: BothHalves, compare: Compare) -> None:
    async with groups(both, "CMP11"), groups(both, "CMP12", company="demf"):
        await spoil(both, "CMP11", "spoiled")
        await spoil(both, "CMP12", "spoiled")
        assert keys((await compare.run(GROUPS, ["USMF"])).differences) == [("different", "cmp11")]
        assert keys((await compare.run(GROUPS, ["demf"])).differences) == [("different", "cmp12")]
        assert (await compare.run(GROUPS, [])).records == {"finops": 0, "dataverse": 0}
        assert len((await compare.run(GROUPS)).differences) == 2


async def test_counts_go_on_where_the_list_ends(both: BothHalves, compare: Compare) -> None:
    numbers = [f"CMP2{number}" for number in range(5)]
    async with groups(both, *numbers):
        for number in numbers:
            await spoil(both, number, "spoiled")
        report = await compare.run(GROUPS, limit=2)
        assert keys(report.differences) == [("different", "cmp20"), ("different", "cmp21")]
        assert report.differing == report.different == 5


async def test_a_key_that_two_records_have(both: BothHalves, compare: Compare) -> None:
    async with groups(both, "CMP31", "CMP32"):
        sql = "update dataverse.msdyn_customergroup set msdyn_groupid = 'CMP31' where msdyn_groupid = 'CMP32'"
        indexes = await both.dataverse.fetch(
            "select indexdef, indexname from pg_indexes "
            "where tablename = 'msdyn_customergroup' and indexdef like '%UNIQUE%' and indexname not like '%pkey'"
        )
        for index in indexes:
            await both.dataverse.execute(f'drop index dataverse."{index["indexname"]}"')
        try:
            await both.dataverse.execute(sql)
            report = await compare.run(GROUPS)
            assert sorted(keys(report.differences)) == [("duplicate", "cmp31"), ("missing_in_dataverse", "cmp32")]
            assert report.duplicate == 1
        finally:
            await both.dataverse.execute("delete from dataverse.msdyn_customergroup where msdyn_groupid = 'CMP31'")
            for index in indexes:
                await both.dataverse.execute(index["indexdef"])


async def test_a_one_way_map_says_nothing_about_what_only_its_end_has(both: BothHalves, compare: Compare) -> None:
    maker = both.maker(COLORS)
    _, values = both.generate(maker, "finops", Seeded(5), None, await both.taken(maker))
    (recid,) = await create(both.apps["finops"], maker.table_map.entity, values)
    before = await compare.run(COLORS)
    own = await create(both.apps["dataverse"], "msdyn_productcolor", {"msdyn_productcolorname": "only in Dataverse"})
    report = await compare.run(COLORS)
    assert (report.unmatched, report.differing, report.equal) == (before.unmatched + 1, 0, before.equal)
    await both.dataverse.execute(
        "delete from dataverse.msdyn_productcolor where msdyn_productcolorid <> $1 and msdyn_productcolorname = $2",
        own[0],
        values["colorid"],
    )
    report = await compare.run(COLORS)
    assert [difference.kind for difference in report.differences] == ["missing_in_dataverse"]
    await both.finops.execute("delete from finops.ecorescolor where recid = $1", recid)
    await delete(both.apps["dataverse"], "msdyn_productcolor", own[0])


async def test_an_unknown_map_is_named(compare: Compare) -> None:
    with pytest.raises(NotFound) as refusal:
        await compare.run("no such map")
    assert refusal.value.code == "table_map_not_found"


@asynccontextmanager
async def writers(both: BothHalves, ids: list[int], rows: list[UUID]) -> AsyncIterator[list[int]]:
    """Saves on both halves without pause, of the same records; the list holds how many there were."""
    entity, done = both.catalog.table_maps[GROUPS].entity, [0]
    choices = Seeded(8)

    async def write(half: Half) -> None:
        while True:
            try:
                text = f"{half} {choices.whole(0, 10**6)}"
                if half == "finops":
                    await update(both.apps[half], entity, {choices.one_of(ids): {"description": text}})
                else:
                    row = choices.one_of(rows)
                    await update(both.apps[half], "msdyn_customergroup", {row: {"msdyn_description": text}})
                done[0] += 1
            except Retriable:
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(write(half)) for half in ("finops", "dataverse", "finops", "dataverse")]
    try:
        yield done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def rows_of(both: BothHalves, numbers: list[str]) -> list[Any]:
    sql = "select msdyn_customergroupid as id from dataverse.msdyn_customergroup where msdyn_groupid = any($1)"
    return [row["id"] for row in await both.dataverse.fetch(sql, numbers)]


async def test_saves_on_their_way_are_no_differences(both: BothHalves, compare: Compare) -> None:
    """Checksums differ now and then, for a save shows on one half first; a difference that stays is still found."""
    numbers = [f"CMP4{number}" for number in range(8)]
    async with groups(both, *numbers, "CMP49") as ids:
        await spoil(both, "CMP49", "spoiled")
        async with writers(both, ids[:-1], await rows_of(both, numbers)) as done:
            for _ in range(25):
                report = await compare.run(GROUPS)
                assert keys(report.differences) == [("different", "cmp49")]
        assert done[0] > 50


async def test_a_save_between_two_readings_is_no_difference(
    both: BothHalves, compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the second look is for: the first sees one half before a save and the other after it."""
    looks: list[int] = []
    async with groups(both, "CMP51") as ids:
        await spoil(both, "CMP51", "what makes compare look closer")
        shown, entity = CloserLook._shown, both.catalog.table_maps[GROUPS].entity

        async def saving(self: CloserLook, half: Half, rows: Any) -> Any:
            found = await shown(self, half, rows)
            if half == "finops" and len(looks) == 0:
                await update(both.apps["finops"], entity, {ids[0]: {"description": "saved meanwhile"}})
            return found

        async def counted(self: CloserLook, candidates: Any) -> dict[Any, Difference]:
            differences = await look(self, candidates)
            looks.append(len(differences))
            return differences

        look = CloserLook.look
        monkeypatch.setattr(CloserLook, "_shown", saving)
        monkeypatch.setattr(CloserLook, "look", counted)
        report = await compare.run(GROUPS)
    assert (report.differing, report.unsettled) == (0, 0)
    assert looks == [1, 0]


async def test_a_record_that_never_stands_still_is_unsettled(
    both: BothHalves, compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with groups(both, "CMP61"):
        monkeypatch.setattr(closer_look, "PAUSES", (0.03, 0.03, 0.03))
        look, number = CloserLook.look, iter(range(1000))

        async def changing(self: CloserLook, candidates: Any) -> dict[Any, Difference]:
            await spoil(both, "CMP61", f"version {next(number)}")
            return await look(self, candidates)

        monkeypatch.setattr(CloserLook, "look", changing)
        await spoil(both, "CMP61", "version")
        report: Report = await compare.run(GROUPS)
        assert (report.unsettled, report.differing) == (1, 0)
        assert report.equal == report.records["finops"] - 1


READERS = "select count(*) from pg_stat_activity where application_name = 'isthmus reader'"


async def test_who_stops_listening_leaves_nothing_behind(both: BothHalves, compare: Compare) -> None:
    async with groups(both, "CMP71", "CMP72"):
        await spoil(both, "CMP71", "spoiled")
        await spoil(both, "CMP72", "spoiled")
        async with aclosing(compare.differences(Report(table_map=GROUPS, companies=None))) as differences:
            async for _ in differences:
                assert await both.finops.fetchval(READERS) > 0
                break
        for _ in range(50):
            if await both.finops.fetchval(READERS) == 0:
                break
            await asyncio.sleep(0.02)
        assert await both.finops.fetchval(READERS) == 0


async def test_a_half_that_goes_away_is_said_to_be(both: BothHalves, compare: Compare) -> None:
    kill = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'isthmus reader'"
    async with groups(both, "CMP81", "CMP82"):
        await spoil(both, "CMP81", "spoiled")
        table_map = both.catalog.table_maps[GROUPS]
        comparison = compile_comparison(table_map, both.catalog, Compiled(both.catalog)[table_map.entity])
        pools = {half: app.pool for half, app in both.apps.items()}
        with pytest.raises(Unavailable):
            async with SideBySide(pools, comparison) as reading:
                await both.finops.fetch(kill)
                async for _ in reading.differing():
                    pass


async def test_a_value_without_counterpart_agrees_with_nothing(both: BothHalves, compare: Compare) -> None:
    async with groups(both, "CMP91"):
        await both.finops.execute(
            "update finops.custgroup set issalestaxincludedinprice = 7 where customergroupid = 'CMP91'"
        )
        await both.dataverse.execute(
            "update dataverse.msdyn_customergroup set msdyn_issalestaxincludedinprice = null "
            "where msdyn_groupid = 'CMP91'"
        )
        (difference,) = (await compare.run(GROUPS)).differences
        (value,) = difference.values
        assert (value.column, value.fault) == ("msdyn_issalestaxincludedinprice", "IsSalesTaxIncludedInPrice=7")
        assert (value.for_dataverse, value.for_finops) == (None, "0")


async def test_half_a_natural_key_names_no_row(both: BothHalves, compare: Compare) -> None:
    """A lookup whose key has two parts is empty when only one of them is given: that is no difference."""
    async with one_record(both, ORDER_LINES) as pair:
        assert pair.record is not None and pair.row is not None
        table = both.catalog.entity(both.catalog.table_maps[ORDER_LINES].entity).root.table.lower()
        await both.finops.execute(
            f"update finops.{table} set salesproductcategoryname = 'half', salesproductcategoryhierarchyname = '' "
            "where recid = $1",
            pair.record["recid"],
        )
        await both.dataverse.execute(
            "update dataverse.salesorderdetail set msdyn_salesproductcategory = null where salesorderdetailid = $1",
            pair.row["salesorderdetailid"],
        )
        assert (await compare.run(ORDER_LINES)).differences == []
