"""Environments for tests of initial sync: a world of records of every table map, and halves of it beside empty ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from tests.support.both_halves import BothHalves, Pair
from tests.support.callers import CALLER
from tests.support.choices import Seeded
from tests.support.generated_drafts import NoRecord
from tests.support.oracle import NoCounterpart
from tests.support.world import COMPANIES
from tests.support.writing import create

from isthmus.apps.principal import Half
from isthmus.config import Settings
from isthmus.dual_write.fresh_delivery import FreshDelivery
from isthmus.dual_write.initial_sync import InitialSync, InitialSyncParameters, Summary
from isthmus.dual_write.refused_records import RefusedRecord, RefusedRecords
from isthmus.dual_write.request_runner import Progress
from isthmus.environments.environment import Environment
from isthmus.metadata.table_map import TableMap

KINDS = ("control", "dataverse", "finops")
NewDatabase = Callable[..., Awaitable[str]]

COMPANY_MAP = "cdm_companies - Legal entities"

MORE = 1
"""Records of each table map, in each company, beside those that others refer to."""


class Side(msgspec.Struct, frozen=True):
    """Names of databases to clone, by kind."""

    names: dict[str, str]

    def with_empty(self, half: Half, empty: dict[str, str]) -> Side:
        """The same with one half of an environment in which nothing has happened."""
        return Side({**self.names, half: empty[half]})


async def build_filled(templates: dict[str, str], new_database: NewDatabase) -> Side:
    """An environment whose halves hold the same records of every table map; its databases, closed."""
    names = {kind: f"filled_{kind}" for kind in KINDS}
    addresses = {f"{kind}_dsn": await new_database(templates[kind], name=names[kind]) for kind in KINDS}
    environment = await Environment.open(Settings(pool_size=5, **addresses))
    try:
        halves = BothHalves(environment)
        await halves.build_world()
        await _build_more(halves)
    finally:
        await environment.close()
    return Side(names)


async def _build_more(halves: BothHalves) -> None:
    choices = Seeded(4)
    for name in sorted(halves.catalog.table_maps):
        maker = halves.maker(name)
        half, taken = halves.halves_of(maker.table_map)[0], await halves.taken(maker)
        for company in COMPANIES if maker.is_company_specific else (None,):
            for _ in range(MORE):
                try:
                    draft, values = halves.generate(maker, half, choices, company, taken)
                except NoRecord:
                    continue
                taken.add(maker.key_of(draft.fields, company))
                await create(halves.apps[half], halves.name_on(half, maker.table_map), values)


@asynccontextmanager
async def opened(side: Side, new_database: NewDatabase) -> AsyncIterator[Run]:
    """An environment of clones, none of its table maps running."""
    addresses = {kind: await new_database(side.names[kind]) for kind in KINDS}
    environment = await Environment.open(
        Settings(pool_size=5, **{f"{kind}_dsn": address for kind, address in addresses.items()})
    )
    try:
        run = Run(environment, addresses)
        await run.bring("not_running")
        yield run
    finally:
        await environment.close()


class Run:
    """An environment and its initial sync. `halves` reads and compares both sides; `addresses` are its databases'."""

    def __init__(self, environment: Environment, addresses: dict[str, str]) -> None:
        self.environment = environment
        self.addresses = addresses
        self.halves = BothHalves(environment)
        dual_write = environment.dual_write
        dataverse, finops = environment.dataverse_app, environment.finops_app
        delivery = FreshDelivery(dataverse, finops, dual_write.live_sync)
        self.initial_sync = InitialSync(dataverse, finops, dual_write.legs, delivery)
        self.refused = RefusedRecords({"dataverse": dataverse.pool.origin, "finops": finops.pool.origin})
        self.names = tuple(sorted(self.halves.catalog.table_maps))

    async def bring(self, state: Any, *names: str) -> None:
        """Bring table maps, or all, into a state."""
        await self.environment.dual_write.states.change(names or self.names, state, by=CALLER.object_id)

    async def make_companies(self) -> None:
        """The legal entities, which only F&O can have first."""
        for code in COMPANIES:
            values = {"legalentityid": code.upper(), "name": f"Company {code}"}
            await create(self.halves.apps["finops"], "OMLegalEntity", values)

    async def settle_companies(self) -> None:
        """The legal entities, on both halves."""
        await self.bring("running", COMPANY_MAP)
        await self.make_companies()
        await self.bring("not_running", COMPANY_MAP)

    async def spoil(self, name: str, field: str, value: Any) -> Any:
        """Write what business logic would refuse into one record of a map on F&O; the record as its table has it."""
        binding = self.environment.finops_app.compiled[self.halves.catalog.table_maps[name].entity].fields[field]
        table = f"finops.{self.halves.catalog.entity(self.halves.catalog.table_maps[name].entity).root.table.lower()}"
        return await self.halves.finops.fetchrow(
            f"update {table} set {binding.column} = $1 where recid = (select min(recid) from {table}) "
            f"returning recid, {table.partition('.')[2]}.*",
            value,
        )

    async def run(
        self, *names: str, request: UUID | None = None, progress: Progress | None = None, **parameters: Any
    ) -> Summary:
        """Run the initial sync of table maps, or of all."""
        wanted = InitialSyncParameters(table_maps=names or self.names, **parameters)
        return await self.initial_sync.run(request or uuid4(), wanted, datetime.now(UTC), progress or Progress())

    async def all_refused(self, table_map: str | None = None) -> list[RefusedRecord]:
        """Every refused record of both halves."""
        found: list[RefusedRecord] = []
        for half in ("dataverse", "finops"):
            page = await self.refused.list(half, table_map=table_map, limit=1000)  # type: ignore[arg-type]
            assert len(page) < 1000
            found += page
        return found

    async def apart(self, origin: Half, *names: str) -> list[str]:
        """What differs under these or all table maps for records that stand on `origin`, but for the refused ones."""
        refused = {(record.table_map, record.record_id) for record in await self.all_refused()}
        found: list[str] = []
        for name in names or self.names:
            table_map = self.halves.catalog.table_maps[name]
            if origin not in self.halves.halves_of(table_map):
                continue
            for row_id in await self.ids(name, origin):
                if (name, str(row_id)) in refused:
                    continue
                try:
                    pair = await self.halves.pair(table_map, origin, row_id)
                    found += [f"{name} {row_id}: {text}" for text in await self._differences(table_map, pair, origin)]
                except (AssertionError, NoCounterpart) as error:
                    found.append(f"{name} {row_id}: {error!r}")
        return found

    async def _differences(self, table_map: TableMap, pair: Pair, origin: Half) -> list[str]:
        """Differences of a pair, but for constants: another table map may set the same field."""
        oracle = self.halves.oracle
        if origin == "finops":
            assert pair.record is not None
            takes_part, other = oracle.takes_part_from_finops(table_map, pair.record), pair.row
        else:
            assert pair.row is not None
            takes_part, other = oracle.takes_part_from_dataverse(table_map, pair.row), pair.record
        if not takes_part:
            return []
        if pair.row is None or pair.record is None:
            return [f"has no counterpart: {other}"]
        found = await oracle.differences(table_map, pair.record, pair.row, origin=origin, sent=frozenset())
        constants = {row.row for row in table_map.rows if not row.finops or not row.dataverse}
        return [text for text in found if int(text.split()[1]) not in constants]

    async def ids(self, name: str, half: Half) -> list[Any]:
        """The records of a table map on a half."""
        table_map = self.halves.catalog.table_maps[name]
        if half == "finops":
            return [record["recid"] for record in await self.halves.oracle.finops_rows(table_map)]
        table = self.halves.catalog.tables[table_map.table]
        rows = await self.halves.dataverse.fetch(f'select "{table.primary_id}" from dataverse."{table.logical_name}"')
        return [row[0] for row in rows]
