"""Every table map keeps both halves equal: generated records, written on either half, compared by the oracle."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from isthmus import solutions
from isthmus.apps.principal import Half
from isthmus.config import Settings
from isthmus.environments.environment import Environment
from isthmus.metadata.table_map import TableMap
from tests.support.both_halves import BothHalves, RowId
from tests.support.choices import Choices, Drawn
from tests.support.generated_records import Demand, Maker, NoRecord
from tests.support.world import COMPANIES
from tests.support.writing import create, delete, update

EXAMPLES = int(os.environ.get("ISTHMUS_MAP_EXAMPLES", "2"))
"""Examples per map and direction; set it to 50 for an hour's search."""

CATALOG = solutions.catalog()
MAPS = sorted(CATALOG.table_maps)
OTHER: dict[Half, Half] = {"finops": "dataverse", "dataverse": "finops"}


def begins_on(table_map: TableMap) -> list[Half]:
    """The halves that the map carries records away from."""
    return BothHalves.halves_of(table_map)


LEGS = [(name, half) for name in MAPS for half in begins_on(CATALOG.table_maps[name])]


@pytest.fixture(scope="module")
async def both(templates: dict[str, str], new_database: Any) -> AsyncIterator[BothHalves]:
    """An environment of this module's own: its world, and nothing else."""
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    environment = await Environment.open(Settings(pool_size=5, **addresses))
    try:
        halves = BothHalves(environment)
        await halves.build_world()
        yield halves
    finally:
        await environment.close()


class Life:
    """One record from its creation on: each step writes on a half, then both must be equal."""

    def __init__(self, both: BothHalves, name: str, choices: Choices) -> None:
        self.both = both
        self.table_map = both.catalog.table_maps[name]
        self.maker: Maker = both.maker(name)
        self.choices = choices
        self.company = choices.one_of(COMPANIES) if self.maker.is_company_specific else None
        self.ids: dict[Half, RowId] = {}

    async def create(self, half: Half) -> None:
        taken = await self.both.taken(self.maker)
        draft, values = self.both.generate(self.maker, half, self.choices, self.company, taken)
        if half == "finops" and self.choices.whole(0, 2) == 0:
            values = self.maker.without_numbers(values)
        self.draft = draft
        before = await self.both.footprint(self.table_map)
        (row_id,) = await create(self.both.apps[half], self.both.name_on(half, self.table_map), values)
        self.ids = {half: row_id}
        await self._compare(half, values, None)
        after = await self.both.footprint(self.table_map, *self.ids.values())
        assert after == before, f"other rows were touched: {before} became {after}"

    async def update(self, half: Half) -> None:
        """Change some of the columns that the map carries away from this half."""
        bundles = [b for b in self.maker.bundles() if b & self.maker.fields_from(half)]
        if not bundles:
            return
        chosen = frozenset().union(*(b for b in bundles if self.choices.whole(0, 2) == 0), self.choices.one_of(bundles))
        pair = await self.both.pair(self.table_map, half, self.ids[half])
        assert pair.record is not None
        demand = Demand({name: pair.record[name] for name in self.maker.fixed_fields}, self.maker.filled_fields)
        try:
            draft = self.maker.draft(self.choices, self.company, demand)
        except NoRecord:
            return
        if half == "finops":
            values = {n: v for n, v in self.maker.finops_values(draft).items() if n in chosen}
        else:
            values = self.maker.columns_for(draft, chosen)
        before = await self.both.footprint(self.table_map, *self.ids.values())
        await update(self.both.apps[half], self.both.name_on(half, self.table_map), {self.ids[half]: values})
        stood = pair.record if half == "finops" else pair.row
        assert stood is not None
        await self._compare(half, {n: v for n, v in values.items() if stood[n] != v}, chosen)
        assert await self.both.footprint(self.table_map, *self.ids.values()) == before, "other rows were touched"

    async def delete(self, half: Half) -> None:
        before = await self.both.footprint(self.table_map, *self.ids.values())
        await delete(self.both.apps[half], self.both.name_on(half, self.table_map), self.ids[half])
        for kind, row_id in self.ids.items():
            found = await self.both.find(self.table_map, row_id)
            assert found is None, f"the record stands on {kind} after it was deleted on {half}"
        self.ids = {}
        assert await self.both.footprint(self.table_map) == before, "other rows were touched"

    async def clean_up(self) -> None:
        """Remove what a failed example left, so that the next one finds its keys free."""
        for half, row_id in self.ids.items():
            if await self.both.find(self.table_map, row_id) is not None:
                await delete(self.both.apps[half], self.both.name_on(half, self.table_map), row_id)

    async def _compare(self, half: Half, given: dict[str, Any], sent: frozenset[str] | None) -> None:
        pair = await self.both.assert_equal(self.table_map, half, self.ids[half], sent=sent)
        stands = pair.record if half == "finops" else pair.row
        assert stands is not None
        self.both.assert_given(self.table_map, half, given, stands)
        if pair.record is not None:
            self.ids["finops"] = pair.record["recid"]
        if pair.row is not None:
            self.ids["dataverse"] = pair.row[self.maker.table.primary_id]


generated = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@pytest.mark.parametrize(("name", "half"), LEGS)
@generated
@given(data=st.data())
async def test_records_of_a_map_are_equal_on_both_halves(both: BothHalves, name: str, half: Half, data: Any) -> None:
    life = Life(both, name, Drawn(data))
    try:
        await life.create(half)
        await life.update(half)
        await life.update(half)
        if OTHER[half] in begins_on(life.table_map):
            await life.update(OTHER[half])
            await life.update(half)
            await life.delete(life.choices.one_of([half, OTHER[half]]))
        else:
            await life.delete(half)
    finally:
        await life.clean_up()
