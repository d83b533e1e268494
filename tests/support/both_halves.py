"""Both halves of an environment as a test of a table map uses them: write on one, compare the two by the oracle."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec
from tests.support.choices import Choices, Seeded
from tests.support.generated_drafts import Draft, NoRecord
from tests.support.generated_records import COMPLETED, Maker
from tests.support.generated_values import Generator
from tests.support.oracle import Oracle, Values
from tests.support.world import COMPANIES, World
from tests.support.writing import create

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import SetBased, Stage, Step
from isthmus.apps.port import App
from isthmus.apps.principal import Half
from isthmus.dual_write.dependencies import enable_order
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.live_sync import LiveSync
from isthmus.environments.environment import Environment
from isthmus.finops.addresses import PRIMARY_GROUPS
from isthmus.metadata.table_map import TableMap

RowId = UUID | int

PARENTS = 3
"""Rows that stand behind each lookup, in each company."""

SHARED_TABLES = frozenset({*PRIMARY_GROUPS, "LogisticsPostalAddress"})
"""F&O tables where a write rightly changes other rows: another becomes primary, the version before ends."""


class Pair(msgspec.Struct):
    """A record as it stands on both halves; None where it does not."""

    record: Values | None
    row: Values | None


class Sent(msgspec.Struct, frozen=True):
    """A message that an app carried out: `through` is the table map that sent it, None when a caller did."""

    half: Half
    operation: Operation
    table: str
    rows: int
    through: str | None


class BothHalves:
    """An environment with the world that records may refer to. `sent` are the messages of both apps, oldest first."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.catalog = environment.finops_app.catalog
        self.apps: dict[Half, App] = {"dataverse": environment.dataverse_app, "finops": environment.finops_app}
        self.dataverse = environment.dataverse_app.pool.origin
        self.finops = environment.finops_app.pool.origin
        self.oracle = Oracle(self.catalog, self.dataverse, self.finops)
        self.world = World(self.catalog, self.dataverse, environment.finops_app)
        self.generator = Generator(self.catalog, itertools.count(36**2))
        self.sent: list[Sent] = []
        for app in self.apps.values():
            unseen = SetBased(reads=frozenset(), joins="", fills={}, needs_handler="false")
            app.pipeline.register(Step(stage=Stage.PRE_VALIDATION, handler=self._record, set_based=unseen))

    async def _record(self, context: Context, message: Message) -> None:
        self.sent.append(Sent(context.half, message.operation, message.table, len(message.rows), message.through))

    def writes_to(self, half: Half, table: str) -> list[Sent]:
        """The messages that live sync sent to a half about a table or entity."""
        return [sent for sent in self.sent if sent.half == half and sent.table == table and sent.through]

    @contextmanager
    def spoiled(self, table_map: TableMap) -> Iterator[None]:
        """Live sync carries records by this map in place of the one of its name; the oracle goes by the true one."""
        handler: Any = self.environment.finops_app.pipeline._before_commit[0]
        live_sync: LiveSync = handler.__self__
        current = live_sync._legs
        true_legs = current.now
        catalog = msgspec.structs.replace(
            self.catalog, table_maps={**self.catalog.table_maps, table_map.name: table_map}
        )
        current.now = Legs(catalog)
        try:
            yield
        finally:
            current.now = true_legs

    def maker(self, name: str) -> Maker:
        """The generator of records of a map."""
        return Maker(self.catalog.table_maps[name], self.oracle, self.world, self.generator)

    @staticmethod
    def halves_of(table_map: TableMap) -> list[Half]:
        """The halves on which a record of the map can begin."""
        halves: list[Half] = []
        if any(row.finops and row.to_dataverse for row in table_map.rows):
            halves.append("finops")
        if any(row.dataverse and row.to_finops for row in table_map.rows):
            halves.append("dataverse")
        return halves

    def name_on(self, half: Half, table_map: TableMap) -> str:
        """What messages on a half call the records of a map."""
        return table_map.entity if half == "finops" else table_map.table

    async def build_world(self) -> None:
        """Make the rows that lookups lead to, through the front door of one half, parents first."""
        choices = Seeded(20_231_107)
        finops = self.apps["finops"]
        for code in COMPANIES:
            await create(finops, "OMLegalEntity", {"legalentityid": code.upper(), "name": f"Company {code}"})
        await self.world.refresh()
        order = enable_order(self.catalog)
        needed = {
            target
            for name in order
            for rows in self.maker(name).lookups
            for target in self.catalog.tables[self.catalog.table_maps[name].table].column[rows].targets
        } - {"cdm_company"}
        for name in sorted(order, key=lambda name: order[name]):
            table_map = self.catalog.table_maps[name]
            if table_map.table in needed:
                await self._build_parents(choices, table_map)
                await self.world.refresh({table_map.table})
        await self.world.refresh()

    async def _build_parents(self, choices: Choices, table_map: TableMap) -> None:
        maker, half = self.maker(table_map.name), self.halves_of(table_map)[0]
        companies = COMPANIES if maker.is_company_specific else (None,)
        values, taken = [], await self.taken(maker)
        for company in (company for company in companies for _ in range(PARENTS)):
            try:
                draft, record = self.generate(maker, half, choices, company, taken)
            except NoRecord:
                continue
            taken.add(maker.key_of(draft.fields, company))
            values.append(record)
        await create(self.apps[half], self.name_on(half, table_map), *values)

    def generate(
        self,
        maker: Maker,
        half: Half,
        choices: Choices,
        company: str | None,
        taken: set[Any],
        *,
        passes: bool = True,
        way: int | None = None,
        pins: Mapping[str, Any] = {},
    ) -> tuple[Draft, Values]:
        """A draft and the values that create it on a half; it passes the filter of that half's leg, or fails it.

        `way` is the number of the way to do so, any when not given; `pins` are values of fields.
        """
        demands = maker.demands(half, passes=passes)
        demand = choices.one_of(demands) if way is None else demands[way]
        demand = msgspec.structs.replace(demand, fields={**demand.fields, **pins})
        if passes:
            demand = msgspec.structs.replace(demand, filled=demand.filled | maker.filled_fields)
        draft = maker.draft(choices, company, demand, taken)
        if half == "finops":
            return draft, maker.finops_values(draft)
        return draft, maker.dataverse_values(draft, demand.columns)

    async def taken(self, maker: Maker) -> set[Any]:
        """Keys that records of the map's entity have already; read only where they can't be made unique."""
        named = {_field(row) for rows in maker.lookups.values() for row in rows}
        if not all(name in named or maker.entity.field[name].enum for name in maker.key_fields):
            return set()
        records = await self.oracle.finops_rows(maker.table_map)
        return {maker.key_of(record, record.get("dataareaid")) for record in records}

    # Comparing ------------------------------------------------------------------------------------------------------

    async def pair(self, table_map: TableMap, half: Half, row_id: RowId) -> Pair:
        """The record on both halves. AssertionError when it has more than one counterpart."""
        if half == "finops":
            assert isinstance(row_id, int)
            record = await self.oracle.finops_row(table_map, row_id)
            assert record is not None, f"{table_map.entity} {row_id} is not there"
            found = await self.oracle.counterparts_in_dataverse(table_map, record)
            assert len(found) <= 1, f"{len(found)} rows of {table_map.table} for one record"
            return Pair(record, found[0] if found else None)
        assert isinstance(row_id, UUID)
        row = await self.oracle.dataverse_row(table_map.table, row_id)
        assert row is not None, f"{table_map.table} {row_id} is not there"
        records = await self.oracle.counterparts_in_finops(table_map, row)
        assert len(records) <= 1, f"{len(records)} records of {table_map.entity} for one row"
        return Pair(records[0] if records else None, row)

    async def find(self, table_map: TableMap, row_id: RowId) -> Values | None:
        """The record as it stands on the half that the id is of."""
        if isinstance(row_id, int):
            return await self.oracle.finops_row(table_map, row_id)
        return await self.oracle.dataverse_row(table_map.table, row_id)

    async def assert_equal(
        self, table_map: TableMap, half: Half, row_id: RowId, *, sent: frozenset[str] | None = None
    ) -> Pair:
        """The record that was written on `half` is equal on both, by every map that it takes part in.

        `sent` are the F&O fields that the write gave, None for all of them.
        """
        pair = await self._assert_takes_part(table_map, half, row_id, sent)
        partner: Half = "dataverse" if half == "finops" else "finops"
        counterpart = pair.row if half == "finops" else pair.record
        if counterpart is not None and partner in self.halves_of(table_map):
            key = self.catalog.tables[table_map.table].primary_id if partner == "dataverse" else "recid"
            await self._assert_others(table_map, partner, counterpart[key])
        await self._assert_others(table_map, half, row_id)
        return pair

    async def _assert_others(self, table_map: TableMap, half: Half, row_id: RowId) -> None:
        """The other maps over the same table agree too: what they don't carry has no counterpart of theirs."""
        root = self.catalog.entities[table_map.entity].root.table
        for other in self.catalog.table_maps.values():
            same = (
                self.catalog.entities[other.entity].root.table == root
                if half == "finops"
                else other.table == table_map.table
            )
            if not same or other.name == table_map.name or half not in self.halves_of(other):
                continue
            if await self.find(other, row_id) is not None:
                await self._assert_takes_part(other, half, row_id, frozenset())

    async def _assert_takes_part(
        self, table_map: TableMap, half: Half, row_id: RowId, sent: frozenset[str] | None
    ) -> Pair:
        pair = await self.pair(table_map, half, row_id)
        if half == "finops":
            assert pair.record is not None
            takes_part, has_partner = self.oracle.takes_part_from_finops(table_map, pair.record), pair.row is not None
        else:
            assert pair.row is not None
            takes_part = self.oracle.takes_part_from_dataverse(table_map, pair.row)
            has_partner = pair.record is not None
        assert has_partner == takes_part, (
            f"{table_map.name}: the record on {half} {'passes' if takes_part else 'does not pass'} the filter "
            f"and has {'a' if has_partner else 'no'} counterpart"
        )
        if pair.record is not None and pair.row is not None:
            found = await self.oracle.differences(table_map, pair.record, pair.row, origin=half, sent=sent)
            assert not found, f"{table_map.name}, written on {half}:\n" + "\n".join(found)
        return pair

    def assert_given(self, table_map: TableMap, half: Half, given: Values, stands: Values) -> None:
        """What the caller gave is what stands, but for what business logic fills in or works out."""
        for name, value in given.items():
            if value in (None, "") or _folded(stands[name]) == _folded(value):
                continue
            if half == "finops":
                if name == "dataareaid" or self._is_completed(table_map, name):
                    continue
            elif any(
                (row.dataverse or "").lower() == name and self._is_completed(table_map, _field(row))
                for row in table_map.rows
            ):
                continue
            raise AssertionError(f"{name} was given as {value!r} and stands as {stands[name]!r}")

    def _is_completed(self, table_map: TableMap, name: str) -> bool:
        entity = self.catalog.entities[table_map.entity]
        field = entity.field.get(name)
        return field is not None and field.field.lower() in COMPLETED.get(entity.source[field.source].table, ())

    async def footprint(self, table_map: TableMap, *except_for: RowId) -> tuple[Any, ...]:
        """What tells whether other rows of the map's two tables were touched."""
        table = self.catalog.tables[table_map.table]
        entity = self.catalog.entities[table_map.entity]
        root = entity.root.table
        rows = await self.dataverse.fetchrow(
            f'select count(*), sum(versionnumber) from dataverse."{table.logical_name}" '
            f'where "{table.primary_id}" <> all($1)',
            [row_id for row_id in except_for if isinstance(row_id, UUID)],
        )
        records = await self.finops.fetchrow(
            f"select count(*), sum(recversion) from finops.{root.lower()} where recid <> all($1)",
            [row_id for row_id in except_for if isinstance(row_id, int)],
        )
        if root in SHARED_TABLES or len(entity.data_sources) > 1:
            return rows[0], records[0]
        return (*rows, *records)


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _field(row: Any) -> str:
    return (row.finops or "").lower()
