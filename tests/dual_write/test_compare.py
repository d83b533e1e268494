"""Compare names exactly the values that were put apart behind live sync's back, on every map."""

from __future__ import annotations

import pytest
from tests.support.apart import one_record, spoiled_record, spoiled_row
from tests.support.both_halves import BothHalves, Pair

from isthmus import solutions
from isthmus.apps.principal import Half
from isthmus.dual_write.compare import Compare
from isthmus.dual_write.legs import Legs
from isthmus.metadata.table_map import TableMap

CATALOG = solutions.catalog()
MAPS = sorted(CATALOG.table_maps)
LEGS = Legs(CATALOG)


@pytest.fixture(scope="module")
def compare(both: BothHalves) -> Compare:
    """Compare over the environment of the world."""
    return Compare({half: app.pool for half, app in both.apps.items()}, LEGS)


async def said_by_the_oracle(both: BothHalves, table_map: TableMap, pair: Pair) -> set[str]:
    """The field mappings that the two don't agree about, by the plain reading of the map."""
    assert pair.record is not None and pair.row is not None
    found = await both.oracle.differences(table_map, pair.record, pair.row, origin="", sent=frozenset())
    return {line.partition("[")[2].partition("]")[0].lower() for line in found}


@pytest.mark.parametrize("name", MAPS)
async def test_halves_that_live_sync_keeps_show_no_difference(both: BothHalves, compare: Compare, name: str) -> None:
    for half in both.halves_of(CATALOG.table_maps[name]):
        async with one_record(both, name, half):
            report = await compare.run(name)
    assert report.differences == []
    assert report.differing == report.unsettled == 0
    assert report.equal == report.records[both.halves_of(CATALOG.table_maps[name])[0]] > 0


@pytest.mark.parametrize("half", ["dataverse", "finops"])
@pytest.mark.parametrize("name", MAPS)
async def test_spoiled_values_are_named_one_by_one(both: BothHalves, compare: Compare, name: str, half: Half) -> None:
    maker = both.maker(name)
    async with one_record(both, name) as pair:
        assert pair.record is not None and pair.row is not None
        spoiled = spoiled_row(both, LEGS, maker, pair) if half == "dataverse" else spoiled_record(both, maker, pair)
        async with spoiled:
            seen = Pair(
                await both.oracle.finops_row(maker.table_map, pair.record["recid"]),
                await both.oracle.dataverse_row(maker.table.logical_name, pair.row[maker.table.primary_id]),
            )
            expected = await said_by_the_oracle(both, maker.table_map, seen)
            report = await compare.run(name)
        found = {
            f"{value.field or ''} {value.arrow} {value.column or ''}".lower()
            for difference in report.differences
            for value in difference.values
        }
        assert found == expected
        if expected:
            (difference,) = report.differences
            assert (difference.kind, report.different) == ("different", 1)
            assert difference.finops_id == pair.record["recid"]
            assert difference.dataverse_id == pair.row[maker.table.primary_id]
        assert report.equal + report.different == report.records[both.halves_of(maker.table_map)[0]]
