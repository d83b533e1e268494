"""One record from its creation on: each step writes on a half, then both halves must be equal under its map."""

from __future__ import annotations

from tests.support.both_halves import BothHalves, RowId
from tests.support.choices import Choices
from tests.support.generated_drafts import Demand, NoRecord
from tests.support.generated_records import Maker
from tests.support.oracle import Values
from tests.support.world import COMPANIES
from tests.support.writing import create, delete, update

from isthmus.apps.principal import Half


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
        _, values = self.both.generate(self.maker, half, self.choices, self.company, taken)
        values = self.maker.varied(half, self.choices, values)
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
        changed = {name: value for name, value in values.items() if stood[name] != value}
        await self._compare(half, changed, chosen & self.maker.fields_of(half, changed))
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

    async def _compare(self, half: Half, given: Values, sent: frozenset[str] | None) -> None:
        pair = await self.both.assert_equal(self.table_map, half, self.ids[half], sent=sent)
        stands = pair.record if half == "finops" else pair.row
        assert stands is not None
        self.both.assert_given(self.table_map, half, given, stands)
        if pair.record is not None:
            self.ids["finops"] = pair.record["recid"]
        if pair.row is not None:
            self.ids["dataverse"] = pair.row[self.maker.table.primary_id]
