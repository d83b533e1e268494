"""Initial sync: everything that stands on one half of table maps is carried to the other, while both are in use.

A run goes by turns: in the first, every table map's leg out of the chosen master, parents before children; in the
second the legs back, for what the master lacks. Within a turn rows come first and references second: a value that names
a record which is not there yet is left out, and set once all table maps have been through. What can't be written stays
as a refused record with its reason.

A leg is divided into parts, one for each company. All progress is kept in the transactions that write the records, so
that a run that was killed goes on where it was, in any process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Literal
from uuid import UUID

import msgspec

from isthmus.apps.principal import DUAL_WRITE, Half
from isthmus.dataverse.app import DataverseApp
from isthmus.dual_write import initial_sync_part, refused_records, staging
from isthmus.dual_write.dependencies import enable_order
from isthmus.dual_write.exchange import RowId
from isthmus.dual_write.fresh_batch import Carried
from isthmus.dual_write.fresh_delivery import FreshDelivery
from isthmus.dual_write.initial_sync_part import Part
from isthmus.dual_write.leg import PARTNER, Leg
from isthmus.dual_write.legs import CurrentLegs
from isthmus.dual_write.precedence import Precedence
from isthmus.dual_write.request_runner import Progress, RequestCancelled
from isthmus.dual_write.source_records import SourceRecords, row_id
from isthmus.dual_write.staged_load import Report, StagedLoad
from isthmus.errors import NotFound
from isthmus.finops.app import FinopsApp
from isthmus.store.connections import Connections
from isthmus.store.transaction import Transaction

NOTHING: Mapping[str, frozenset[str]] = {}

BATCH = 100
"""Records that are carried in one save; live saves of the same records wait for it."""


class InitialSyncParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run is to do.

    `master` is the half whose records are carried first and decide conflicts, `masters` names another one for single
    table maps. `conflicts`: `newest` lets the half decide that changed a record last. `companies` are codes of legal
    entities, None for all. `errors_only` carries refused records alone, but for table maps named in `in_full`;
    `refused` are the ids of some of them by the half that refused them, None for all.
    """

    table_maps: tuple[str, ...]
    master: Half = "dataverse"
    masters: dict[str, Half] = {}
    conflicts: Literal["master", "newest"] = "master"
    companies: tuple[str, ...] | None = None
    errors_only: bool = False
    in_full: tuple[str, ...] = ()
    refused: dict[Half, tuple[int, ...]] | None = None

    def master_of(self, table_map: str) -> Half:
        return self.masters.get(table_map, self.master)

    def is_whole(self, table_map: str) -> bool:
        """Whether all records of a table map are carried."""
        return not self.errors_only or table_map in self.in_full


class Summary(msgspec.Struct, frozen=True):
    """What a run did: its parts, and how many records of each of its table maps stand refused."""

    parts: list[Part]
    refused: dict[str, int]


class _Turn(msgspec.Struct, frozen=True):
    """A leg and who decides about records that both halves have."""

    leg: Leg
    precedence: Precedence


class InitialSync:
    """Carries out initial syncs. The caller has brought the table maps into the state initializing."""

    def __init__(self, dataverse: DataverseApp, finops: FinopsApp, legs: CurrentLegs, delivery: FreshDelivery) -> None:
        self._pools: dict[Half, Connections] = {"dataverse": dataverse.pool.origin, "finops": finops.pool.origin}
        self._apps: dict[Half, DataverseApp | FinopsApp] = {"dataverse": dataverse, "finops": finops}
        self._legs = legs
        self._delivery = delivery
        self._records = SourceRecords(dataverse, finops)
        self._staged = StagedLoad(dataverse, finops)

    async def run(
        self, request: UUID, parameters: InitialSyncParameters, began: datetime, progress: Progress
    ) -> Summary:
        """Run, or go on with, the initial sync of a request that began at `began`.

        Raises NotFound for a table map that is not there, RequestCancelled at the next safe point after `progress` was
        told so, Unavailable and Retriable when a half is away or too busy: what was done stands, call again.
        """
        await self._legs.refresh()
        try:
            return await self._run(request, parameters, self._turns(parameters, began), progress)
        except RequestCancelled:
            for pool in self._pools.values():
                parts = await initial_sync_part.parts_of(pool, request)
                await staging.drop(pool, [part.staging for part in parts if part.staging])
                await refused_records.settle(pool, parameters.table_maps)
            raise

    async def _run(
        self, request: UUID, parameters: InitialSyncParameters, turns: list[list[_Turn]], progress: Progress
    ) -> Summary:
        names = [name for name in parameters.table_maps if parameters.is_whole(name)]
        for pool in self._pools.values():
            old = await initial_sync_part.forget_others(pool, request, names)
            await staging.drop(pool, old)
        parts: list[tuple[Part, _Turn]] = []
        for turn in turns:
            whole = [item for item in turn if parameters.is_whole(item.leg.name)]
            parts += await self._carry_turn(request, parameters, whole, progress)
            # Those of the first turn too: what they lacked may have come with the second.
            await self._carry_pending(parts, progress)
        if parameters.errors_only:
            await self._run_errors(request, parameters, turns, progress)
        return await self._finish(request, parameters)

    async def _carry_turn(
        self, request: UUID, parameters: InitialSyncParameters, turn: list[_Turn], progress: Progress
    ) -> list[tuple[Part, _Turn]]:
        """Carry all parts of a turn, then the references of those that are written in sets."""
        parts = []
        for item in turn:
            for company in await self._records.companies(item.leg, parameters.companies):
                part = Part(request=request, table_map=item.leg.name, source=item.leg.source, company=company)
                parts.append((await self._carry_part(part, item, progress), item))
        for part, item in parts:
            if part.step in ("loaded", "completing"):
                await self._staged.complete(item.leg, part, item.precedence, self._reporting(item.leg, progress))
        return parts

    def _turns(self, parameters: InitialSyncParameters, began: datetime) -> list[list[_Turn]]:
        """Both turns, each with its legs in the order in which table maps are enabled."""
        legs = self._legs.now
        order = enable_order(legs.catalog)
        turns: list[list[_Turn]] = [[], []]
        for name in parameters.table_maps:
            if name not in order:
                raise NotFound(f"There is no table map '{name}'.", code="table_map_not_found", table_map=name)
        for name in sorted(parameters.table_maps, key=lambda name: order[name]):
            master = parameters.master_of(name)
            found = [leg for half in (master, PARTNER[master]) if (leg := legs.by_map.get((name, half))) is not None]
            newest = parameters.conflicts == "newest" and len(found) > 1
            for number, leg in enumerate(found):
                rule: Literal["source", "destination", "newest"] = "destination" if number else "source"
                precedence = Precedence(rule="newest" if newest else rule, first=number == 0, before=began)
                turns[number].append(_Turn(leg, precedence))
        return turns

    async def _carry_part(self, part: Part, item: _Turn, progress: Progress) -> Part:
        """Carry the records of a part, from where it was left; the part as it is then."""
        found = await initial_sync_part.find(self._pools[item.leg.destination], part)
        if found is None:
            found = msgspec.structs.replace(part, total=await self._records.count(item.leg, part.company))
            await self._note(item.leg, part, partial(_begin, found))
        if found.step in ("loaded", "completing", "done"):
            return found
        if self._staged.takes(item.leg, self._legs.now, item.precedence):
            report = self._reporting(item.leg, progress)
            found = await self._staged.load(item.leg, found, item.precedence, report)
            await self._carry_pending_of(found, item, progress, code=refused_records.LEFT)
            return found
        return await self._carry_singly(found, item, progress)

    async def _carry_singly(self, part: Part, item: _Turn, progress: Progress) -> Part:
        leg, pool = item.leg, self._pools[item.leg.destination]
        back = self._legs.now.by_map.get((leg.name, leg.destination))
        if back is not None and item.precedence.rule == "destination" and not leg.one_way:
            part = await self._stage_lacking(part, leg, back)
        while part.step != "done":
            progress.check_cancelled()
            last = None if part.last_id is None else row_id(leg, part.last_id)
            if part.staging is None:
                ids = await self._records.after(leg, part.company, last, BATCH)
            else:
                ids = await staging.ids_after(pool, part, last, BATCH)
            if ids:
                await self._carry(part, item, ids, _book)
            else:
                await self._note(leg, part, partial(part.advance, step="done"))
            part = await initial_sync_part.find(pool, part) or part
            await self._report(leg, progress, part)
        if part.staging is not None:
            await staging.drop(pool, [part.staging])
        return part

    async def _stage_lacking(self, part: Part, leg: Leg, back: Leg) -> Part:
        """Let the part be of those records only that the destination lacks."""
        pools = {half: app.pool for half, app in self._apps.items()}
        if part.staging is not None and await staging.stands(self._pools[leg.destination], part):
            return part
        records, lacking = await staging.stage_lacking(pools[leg.source], pools[leg.destination], leg, back, part)
        name = staging.staging_name(part)
        note = partial(part.stage, staging=name, total=lacking, step="begun", unchanged=records - lacking)
        await self._note(leg, part, note)
        return await initial_sync_part.find(self._pools[leg.destination], part) or part

    async def _carry_pending(self, parts: Sequence[tuple[Part, _Turn]], progress: Progress) -> None:
        """References second: try again what could not be written, or not all of it, for as long as that helps."""
        left: tuple[int, int] | None = None
        while True:
            counts = [
                await refused_records.count_part(self._pools[item.leg.destination], *part.place[1:])
                for part, item in parts
            ]
            now = sum(count.pending for count in counts), sum(count.columns for count in counts)
            if now[0] == 0 or (left is not None and now >= left):
                return
            left = now
            for (part, item), count in zip(parts, counts, strict=True):
                if count.pending:
                    await self._carry_pending_of(part, item, progress)

    async def _carry_pending_of(self, part: Part, item: _Turn, progress: Progress, code: str | None = None) -> None:
        pool = self._pools[item.leg.destination]
        after = ""
        while True:
            progress.check_cancelled()
            found = await refused_records.pending(pool, *part.place[1:], after=after, limit=BATCH, code=code)
            if not found:
                break
            ids = sorted(row_id(item.leg, text) for text in found)
            await self._carry(part, item, ids, _book_again, lacking=found)
            after = max(found)
        await self._report(item.leg, progress, await initial_sync_part.find(pool, part) or part)

    async def _run_errors(
        self, request: UUID, parameters: InitialSyncParameters, turns: list[list[_Turn]], progress: Progress
    ) -> None:
        """Carry refused records alone. Opening them again does no harm when the run is continued."""
        for turn in turns:
            parts = []
            for item in (item for item in turn if not parameters.is_whole(item.leg.name)):
                leg = item.leg
                ids = None if parameters.refused is None else parameters.refused.get(leg.destination, ())
                pool = self._pools[leg.destination]
                for company in await refused_records.reopen(pool, leg.name, leg.source, request, ids):
                    part = Part(request=request, table_map=leg.name, source=leg.source, company=company)
                    await self._note(leg, part, part.begin)
                    parts.append((part, item))
            await self._carry_pending(parts, progress)

    async def _finish(self, request: UUID, parameters: InitialSyncParameters) -> Summary:
        parts: list[Part] = []
        refused: dict[str, int] = {}
        for pool in self._pools.values():
            await refused_records.settle(pool, parameters.table_maps)
            parts += await initial_sync_part.parts_of(pool, request)
        counts = await refused_records.RefusedRecords(self._pools).counts(parameters.table_maps)
        refused.update({name: counts.get(name, 0) for name in parameters.table_maps})
        return Summary(parts, refused)

    async def _carry(
        self,
        part: Part,
        item: _Turn,
        ids: Sequence[RowId],
        book: Callable[[Part, Transaction, Carried], Awaitable[None]],
        lacking: Mapping[str, frozenset[str]] = NOTHING,
    ) -> None:
        await self._delivery.carry(
            item.leg,
            ids,
            partial(book, part),
            precedence=item.precedence,
            lacking=lacking,
            correlation_id=f"initial-sync:{part.request}",
        )

    async def _note(self, leg: Leg, part: Part, write: Callable[[Transaction], Awaitable[None]]) -> None:
        """Write about a part on the half where it is kept."""
        app = self._apps[leg.destination]
        async with app.context(DUAL_WRITE, correlation_id=f"initial-sync:{part.request}") as context:
            await write(context.transaction)
            await context.commit()

    def _reporting(self, leg: Leg, progress: Progress) -> Report:
        """Reports a part and stops at this point when the request is cancelled."""

        async def report(part: Part) -> None:
            await self._report(leg, progress, part)
            progress.check_cancelled()

        return report

    async def _report(self, leg: Leg, progress: Progress, part: Part) -> None:
        count = await refused_records.count_part(self._pools[leg.destination], *part.place[1:])
        progress.report(
            part.table_map,
            leg=part.source,
            company=part.company or None,
            done=part.done,
            total=part.total,
            refused=count.records,
        )


async def _begin(part: Part, destination: Transaction) -> None:
    await part.begin(destination)
    await refused_records.forget_all(destination, *part.place[1:])


async def _book(part: Part, destination: Transaction, carried: Carried) -> None:
    """Account of records that are carried for the first time in this run."""
    await _book_refusals(part, destination, carried)
    await part.advance(
        destination,
        last_id=str(carried.ids[-1]),
        done=len(carried.ids),
        inserted=carried.inserted,
        updated=carried.updated,
        unchanged=carried.unchanged,
        skipped=carried.gone,
    )


async def _book_again(part: Part, destination: Transaction, carried: Carried) -> None:
    """Account of records that have been counted before, but for those that are written only now."""
    await _book_refusals(part, destination, carried)
    if carried.inserted:
        await part.advance(destination, inserted=carried.inserted)


async def _book_refusals(part: Part, destination: Transaction, carried: Carried) -> None:
    await refused_records.forget(destination, part.table_map, part.source, carried.complete)
    await refused_records.keep(destination, *part.place[1:], part.request, carried.refusals)
