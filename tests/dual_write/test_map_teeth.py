"""The comparison has teeth: live sync that goes by a spoiled map is found out by the oracle, which goes by the true."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from tests.support.both_halves import BothHalves
from tests.support.choices import Seeded
from tests.support.record_life import Life
from tests.support.world import COMPANIES
from tests.support.writing import create, delete

from isthmus import solutions
from isthmus.apps.principal import Half
from isthmus.metadata.table_map import FieldMapping, TableMap

CATALOG = solutions.catalog()
SEEDS = 4
Spoil = Callable[[TableMap], TableMap]


def with_row(table_map: TableMap, field: str, change: Callable[[FieldMapping], FieldMapping | None]) -> TableMap:
    """The map with one of its rows changed, or left out."""
    rows = []
    for row in table_map.rows:
        changed = change(row) if row.finops == field else row
        rows += [changed] if changed is not None else []
    assert tuple(rows) != table_map.rows
    return msgspec.structs.replace(table_map, rows=tuple(rows))


def swapped_values(field: str) -> Spoil:
    """The first two entries of a value map lead to each other's value."""

    def change(row: FieldMapping) -> FieldMapping:
        value_map = dict(row.transform.value_map or {})
        one, other, *_ = value_map
        value_map[one], value_map[other] = value_map[other], value_map[one]
        return msgspec.structs.replace(row, transform=msgspec.structs.replace(row.transform, value_map=value_map))

    return lambda table_map: with_row(table_map, field, change)


def without(field: str) -> Spoil:
    """A row is not carried at all."""
    return lambda table_map: with_row(table_map, field, lambda _: None)


def with_arrow(field: str, arrow: str) -> Spoil:
    """A row is carried one way only."""
    return lambda table_map: with_row(table_map, field, lambda row: msgspec.structs.replace(row, arrow=arrow))


def unfiltered(table_map: TableMap) -> TableMap:
    """Every record takes part."""
    return msgspec.structs.replace(table_map, finops_filter="", dataverse_filter="")


def other_constant(table_map: TableMap) -> TableMap:
    """Constants have another value."""
    rows = [
        row
        if row.finops or row.transform.default is None
        else msgspec.structs.replace(row, transform=msgspec.structs.replace(row.transform, default="1"))
        for row in table_map.rows
    ]
    return msgspec.structs.replace(table_map, rows=tuple(rows))


MUTANTS: tuple[tuple[str, Half, Spoil], ...] = (
    ("msdyn_paymentterms - Terms of payment", "finops", swapped_values("PAYMENTMETHODTYPE")),
    ("msdyn_paymentterms - Terms of payment", "dataverse", swapped_values("ISCASHPAYMENT")),
    ("accounts - Customers V3", "finops", without("CUSTOMERGROUPID")),
    ("msdyn_models - Asset management models", "dataverse", without("MAINTENANCEASSETTYPEID")),
    ("msdyn_operationalsites - Sites", "finops", without("SITENAME")),
    ("msdyn_operationalsites - Sites", "dataverse", with_arrow("SITENAME", ">")),
    ("annotations - Customer Attachments", "finops", other_constant),
)


async def runs(both: BothHalves, name: str, half: Half, seed: int) -> None:
    """A record's life as in test_all_maps, but for the partner's turn."""
    life = Life(both, name, Seeded(seed))
    try:
        await life.create(half)
        await life.update(half)
        await life.delete(half)
    finally:
        await life.clean_up()


@pytest.mark.parametrize(("name", "half", "spoil"), MUTANTS)
async def test_a_spoiled_map_is_found_out(both: BothHalves, name: str, half: Half, spoil: Spoil) -> None:
    for seed in range(SEEDS):
        await runs(both, name, half, seed)
    found = 0
    with both.spoiled(spoil(both.catalog.table_maps[name])):
        for seed in range(SEEDS):
            try:
                await runs(both, name, half, seed)
            except AssertionError:
                found += 1
    assert found


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("leads - Prospects", "finops"),
        ("leads - Prospects", "dataverse"),
        ("quotes - CDS sales quotation header", "dataverse"),
    ],
)
async def test_a_missing_filter_is_found_out(both: BothHalves, name: str, half: Half) -> None:
    maker = both.maker(name)
    with both.spoiled(unfiltered(maker.table_map)):
        _, values = both.generate(maker, half, Seeded(1), COMPANIES[0], set(), passes=False)
        (row_id,) = await create(both.apps[half], both.name_on(half, maker.table_map), values)
        with pytest.raises(AssertionError, match="does not pass the filter and has a counterpart"):
            await both.assert_equal(maker.table_map, half, row_id)
        await delete(both.apps[half], both.name_on(half, maker.table_map), row_id)
