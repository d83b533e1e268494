"""Repair: what compare finds is brought into line from the chosen half, by ordinary saves, one result per record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from tests.support.apart import one_record, spoiled_record, spoiled_row
from tests.support.both_halves import BothHalves
from tests.support.writing import create, delete

from isthmus import solutions
from isthmus.dual_write.closer_look import Difference
from isthmus.dual_write.compare import Compare
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.repair import Apart, Repair, Repaired
from isthmus.errors import Rejected

LEGS = Legs(solutions.catalog())
GROUPS = "msdyn_customergroups - Customer groups"
PRODUCTS = "msdyn_globalproducts - All products"
ON_HAND = "msdyn_inventoryonhandentries - CDS inventory on-hand entries"


@pytest.fixture(scope="module")
def compare(both: BothHalves) -> Compare:
    """Compare over the environment of the world."""
    return Compare({half: app.pool for half, app in both.apps.items()}, LEGS)


@pytest.fixture(scope="module")
def repair(both: BothHalves) -> Repair:
    """Repair as the environment composes it."""
    return both.environment.dual_write.repair


@asynccontextmanager
async def groups(both: BothHalves, *numbers: str) -> AsyncIterator[None]:
    """Customer groups on both halves."""
    entity = both.catalog.table_maps[GROUPS].entity
    values = [{"dataareaid": "usmf", "customergroupid": number, "description": number} for number in numbers]
    await create(both.apps["finops"], entity, *values)
    try:
        yield
    finally:
        kept = await both.finops.fetch("select recid from finops.custgroup where customergroupid = any($1)", numbers)
        await delete(both.apps["finops"], entity, *(row["recid"] for row in kept))
        await both.dataverse.execute("delete from dataverse.msdyn_customergroup where msdyn_groupid = any($1)", numbers)


async def descriptions(both: BothHalves, number: str) -> tuple[str | None, str | None]:
    """What F&O and Dataverse say about a group; None where it is missing."""
    finops = await both.finops.fetchval("select description from finops.custgroup where customergroupid = $1", number)
    dataverse = await both.dataverse.fetchval(
        "select msdyn_description from dataverse.msdyn_customergroup where msdyn_groupid = $1", number
    )
    return finops, dataverse


async def spoil(both: BothHalves, number: str) -> None:
    """Change the Dataverse row past live sync."""
    await both.dataverse.execute(
        "update dataverse.msdyn_customergroup set msdyn_description = 'spoiled' where msdyn_groupid = $1", number
    )


async def drop(pool: Any, half: str, number: str) -> None:
    """Delete a group past live sync."""
    table, column = {
        "finops": ("finops.custgroup", "customergroupid"),
        "dataverse": ("dataverse.msdyn_customergroup", "msdyn_groupid"),
    }[half]
    await pool.execute(f"delete from {table} where {column} = $1", number)


def apart(*differences: Difference) -> list[Apart]:
    return [Apart(finops_id=found.finops_id, dataverse_id=found.dataverse_id) for found in differences]


def outcomes(results: list[Repaired]) -> list[tuple[str, str | None]]:
    return [(result.outcome, result.code) for result in results]


async def found(compare: Compare, name: str = GROUPS) -> list[Difference]:
    return (await compare.run(name)).differences


async def test_values_of_either_half(both: BothHalves, compare: Compare, repair: Repair) -> None:
    async with groups(both, "RPR01", "RPR02"):
        await spoil(both, "RPR01")
        await spoil(both, "RPR02")
        first, second = apart(*await found(compare))
        both.sent.clear()
        assert outcomes(await repair.repair(GROUPS, "finops", [first], correlation_id="r")) == [("updated", None)]
        assert outcomes(await repair.repair(GROUPS, "dataverse", [second], correlation_id="r")) == [("updated", None)]
        assert {(sent.half, sent.operation.value, sent.through) for sent in both.sent} == {
            ("dataverse", "Update", GROUPS),
            ("finops", "Update", GROUPS),
        }
        assert await descriptions(both, "RPR01") == ("RPR01", "RPR01")
        assert await descriptions(both, "RPR02") == ("spoiled", "spoiled")
        assert await found(compare) == []


async def test_what_the_other_half_lacks_is_created_there(both: BothHalves, compare: Compare, repair: Repair) -> None:
    async with groups(both, "RPR11", "RPR12"):
        await drop(both.dataverse, "dataverse", "RPR11")
        await drop(both.finops, "finops", "RPR12")
        first, second = apart(*await found(compare))
        assert outcomes(await repair.repair(GROUPS, "finops", [first], correlation_id="r")) == [("created", None)]
        assert outcomes(await repair.repair(GROUPS, "dataverse", [second], correlation_id="r")) == [("created", None)]
        assert await descriptions(both, "RPR11") == ("RPR11", "RPR11")
        assert await descriptions(both, "RPR12") == ("RPR12", "RPR12")
        assert await found(compare) == []


async def test_what_the_chosen_half_lacks_is_deleted_when_asked(
    both: BothHalves, compare: Compare, repair: Repair
) -> None:
    async with groups(both, "RPR21", "RPR22"):
        await drop(both.dataverse, "dataverse", "RPR21")
        await drop(both.finops, "finops", "RPR22")
        first, second = apart(*await found(compare))
        refused = [("refused", "record_missing_here")]
        assert outcomes(await repair.repair(GROUPS, "dataverse", [first], correlation_id="r")) == refused
        assert outcomes(await repair.repair(GROUPS, "finops", [second], correlation_id="r")) == refused
        assert len(await found(compare)) == 2
        done = await repair.repair(GROUPS, "dataverse", [first], delete=True, correlation_id="r")
        done += await repair.repair(GROUPS, "finops", [second], delete=True, correlation_id="r")
        assert outcomes(done) == [("deleted", None), ("deleted", None)]
        assert await descriptions(both, "RPR21") == await descriptions(both, "RPR22") == (None, None)


async def test_a_record_that_came_meanwhile_is_not_deleted(both: BothHalves, compare: Compare, repair: Repair) -> None:
    async with groups(both, "RPR31"):
        await drop(both.dataverse, "dataverse", "RPR31")
        records = apart(*await found(compare))
        await repair.repair(GROUPS, "finops", records, correlation_id="r")
        again = await repair.repair(GROUPS, "dataverse", records, delete=True, correlation_id="r")
        assert outcomes(again) == [("refused", "record_not_missing")]
        assert await descriptions(both, "RPR31") == ("RPR31", "RPR31")


async def test_each_record_has_its_own_result(both: BothHalves, compare: Compare, repair: Repair) -> None:
    async with groups(both, "RPR41", "RPR42", "RPR43"):
        for number in ("RPR41", "RPR42", "RPR43"):
            await spoil(both, number)
        await both.finops.execute(
            "update finops.custgroup set issalestaxincludedinprice = 7 where customergroupid = 'RPR42'"
        )
        records = [*apart(*await found(compare)), Apart(finops_id=1)]
        results = await repair.repair(GROUPS, "finops", records, correlation_id="r")
        assert outcomes(results) == [
            ("updated", None),
            ("refused", "value_map_entry_missing"),
            ("updated", None),
            ("refused", "record_takes_no_part"),
        ]
        assert await descriptions(both, "RPR42") == ("RPR42", "spoiled")
        assert await descriptions(both, "RPR43") == ("RPR43", "RPR43")


async def test_a_half_that_a_map_carries_nothing_away_from_can_not_be_chosen(repair: Repair) -> None:
    with pytest.raises(Rejected) as refusal:
        await repair.repair(PRODUCTS, "dataverse", [Apart(dataverse_id=UUID(int=1))], correlation_id="r")
    assert refusal.value.code == "direction_not_mapped"


async def test_a_map_whose_changes_wait_is_not_repaired(both: BothHalves, compare: Compare, repair: Repair) -> None:
    states = both.environment.dual_write.states
    async with groups(both, "RPR51", "RPR52"):
        await spoil(both, "RPR51")
        await drop(both.dataverse, "dataverse", "RPR52")
        different, missing = apart(*await found(compare))
        await states.change([GROUPS], "paused", by="test", reason="manual")
        try:
            results = await repair.repair(GROUPS, "finops", [different, missing], correlation_id="r")
            results += await repair.repair(GROUPS, "dataverse", [missing], delete=True, correlation_id="r")
        finally:
            await states.change([GROUPS], "running", by="test", queued="discard")
        assert outcomes(results) == [("refused", "table_map_queueing")] * 3
        assert await descriptions(both, "RPR51") == ("RPR51", "spoiled")
        assert await descriptions(both, "RPR52") == ("RPR52", None)


async def test_values_that_the_map_does_not_carry_from_there_are_left(
    both: BothHalves, compare: Compare, repair: Repair
) -> None:
    async with one_record(both, ON_HAND) as pair, spoiled_record(both, both.maker(ON_HAND), pair):
        (before,) = await found(compare, ON_HAND)
        (result,) = await repair.repair(ON_HAND, "dataverse", apart(before), correlation_id="r")
        (after,) = await found(compare, ON_HAND)
    assert result.outcome == "unchanged"
    assert {value.arrow for value in after.values} == {">"}
    assert result.left == after.values == before.values


@pytest.mark.parametrize("name", sorted(name for name, half in LEGS.by_map if half == "finops"))
async def test_every_map_is_repaired_from_finops(both: BothHalves, compare: Compare, repair: Repair, name: str) -> None:
    async with one_record(both, name) as pair, spoiled_row(both, LEGS, both.maker(name), pair):
        before = await found(compare, name)
        results = await repair.repair(name, "finops", apart(*before), correlation_id="r")
        assert {result.outcome for result in results} <= {"updated", "unchanged"}, results
        after = await found(compare, name)
    assert {value.arrow for difference in after for value in difference.values} <= {"<", "<<"}


@pytest.mark.parametrize("name", sorted(name for name, half in LEGS.by_map if half == "dataverse"))
async def test_every_map_is_repaired_from_dataverse(
    both: BothHalves, compare: Compare, repair: Repair, name: str
) -> None:
    async with one_record(both, name) as pair, spoiled_record(both, both.maker(name), pair):
        before = await found(compare, name)
        results = await repair.repair(name, "dataverse", apart(*before), correlation_id="r")
        assert {result.outcome for result in results} <= {"updated", "unchanged"}, results
        after = await found(compare, name)
    assert {value.arrow for difference in after for value in difference.values} <= {">", ">>"}
