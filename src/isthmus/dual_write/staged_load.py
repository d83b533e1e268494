"""Writes the parts of an initial sync that go in sets: staged by COPY, then chunk after chunk, each one transaction.

What a set can't carry - records that live sync has written meanwhile, that only business logic in Python can write, or
whose references are not there yet - is kept as pending refused records, to be carried singly.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import asyncpg

from isthmus.apps.principal import DUAL_WRITE
from isthmus.dataverse.app import DataverseApp
from isthmus.dual_write import gate, initial_sync_part, refused_records, staging
from isthmus.dual_write.chunk import ChunkLoad, Outcome, is_set_based
from isthmus.dual_write.fresh_delivery import ATTEMPTS, PATIENCE
from isthmus.dual_write.initial_sync_part import Part, Step
from isthmus.dual_write.leg import Leg
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.precedence import Precedence
from isthmus.dual_write.refused_records import left_over
from isthmus.errors import Retriable
from isthmus.finops.app import FinopsApp
from isthmus.store.transaction import Transaction

Report = Callable[[Part], Awaitable[None]]
"""Told of a part after each chunk. What it raises ends the load; what has been written stands."""


class StagedLoad:
    """Writes parts towards Dataverse."""

    def __init__(self, dataverse: DataverseApp, finops: FinopsApp) -> None:
        self._dataverse = dataverse
        self._finops = finops

    def takes(self, leg: Leg, legs: Legs, precedence: Precedence) -> bool:
        """Whether the parts of a leg can be written in sets."""
        if precedence.rule == "newest" or (precedence.rule == "destination" and leg.one_way):
            return False
        return is_set_based(self._dataverse, leg, legs)

    async def load(self, leg: Leg, part: Part, precedence: Precedence, report: Report) -> Part:
        """Write the records of a part from where it was left; the part as it is then, `loaded` or `done`."""
        if part.step == "begun" or not await staging.stands(self._dataverse.pool.origin, part):
            part = await self._stage(leg, part)
        chunks = ChunkLoad(self._dataverse, leg, staging.staging_name(part), updates=precedence.rule != "destination")
        while part.next_bucket < staging.BUCKETS:
            part = await self._chunk(leg, part, chunks)
            await report(part)
        return part

    async def _stage(self, leg: Leg, part: Part) -> Part:
        records = await staging.stage(self._finops.pool, self._dataverse.pool, leg, part)

        async def note(destination: Transaction) -> None:
            await part.stage(destination, staging.staging_name(part), records)

        await self._note(part, note)
        return await self._found(part)

    async def complete(self, leg: Leg, part: Part, precedence: Precedence, report: Report) -> None:
        """References second: once more through all records, if some had to do without theirs; then it is done."""
        if part.step == "loaded" and part.waiting:
            await self._note(part, part.complete)
            part = await self._found(part)
        if part.step in ("staged", "completing"):
            part = await self.load(leg, part, precedence, report)
        if part.step == "staged":
            # The staged records were lost and have been loaded anew: their references are still to be seen to.
            return await self.complete(leg, part, precedence, report)

        async def note(destination: Transaction) -> None:
            await part.advance(destination, step="done")

        await self._note(part, note)
        await staging.drop(self._dataverse.pool.origin, [staging.staging_name(part)])

    async def _chunk(self, leg: Leg, part: Part, chunks: ChunkLoad) -> Part:
        """Write the next chunk, as often as it loses a race; one that can't be written is left to be carried singly."""
        last = min(part.next_bucket + staging.buckets_of_a_chunk(part.total), staging.BUCKETS) - 1
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._write(leg, part, last, chunks)
                break
            except Retriable:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(min(0.02 * 2**attempt, 1.0) * random.random())
            except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError):
                await self._leave(part, last)
                break
        return await self._found(part)

    async def _write(self, leg: Leg, part: Part, last: int, chunks: ChunkLoad) -> None:
        first, completing = part.next_bucket, part.step == "completing"
        async with self._dataverse.context(DUAL_WRITE, correlation_id=f"initial-sync:{part.request}") as context:
            destination = context.transaction
            await destination.run(f"set local lock_timeout = '{PATIENCE}'")
            buckets = await staging.filled_buckets(destination, part, first, last)
            if buckets:
                await gate.close(destination, leg.name, buckets)
                if completing:
                    ids = await staging.ids_of_buckets(destination, part, first, last)
                    await refused_records.forget(destination, part.table_map, part.source, [str(id_) for id_ in ids])
                # Where rows that stand are left as they are, a second pass can't set the references of new ones.
                names_waiting = completing or not chunks.updates
                outcome = await chunks.load(context, first, last, names_waiting=names_waiting)
                await _book(part, destination, outcome, last, waits=not names_waiting)
            else:
                await part.advance(destination, step=_step_after(part, last), next_bucket=last + 1)
            await context.commit()

    async def _leave(self, part: Part, last: int) -> None:
        """Keep the records of a chunk as left over."""

        async def note(destination: Transaction) -> None:
            ids = await staging.ids_of_buckets(destination, part, part.next_bucket, last)
            left = [left_over(str(id_)) for id_ in ids]
            await refused_records.keep(destination, *part.place[1:], part.request, left)
            await part.advance(destination, step=_step_after(part, last), next_bucket=last + 1, done=len(ids))

        await self._note(part, note)

    async def _note(self, part: Part, write: Callable[[Transaction], Awaitable[None]]) -> None:
        async with self._dataverse.context(DUAL_WRITE, correlation_id=f"initial-sync:{part.request}") as context:
            await write(context.transaction)
            await context.commit()

    async def _found(self, part: Part) -> Part:
        return await initial_sync_part.find(self._dataverse.pool.origin, part) or part


async def _book(part: Part, destination: Transaction, outcome: Outcome, last: int, *, waits: bool) -> None:
    refusals = [*outcome.refusals, *(left_over(str(id_)) for id_ in outcome.left)]
    await refused_records.keep(destination, *part.place[1:], part.request, refusals)
    unwritten = sum(not refusal.written for refusal in refusals)
    completing = part.step == "completing"
    await part.advance(
        destination,
        step=_step_after(part, last),
        next_bucket=last + 1,
        done=0 if completing else outcome.inserted + outcome.updated + outcome.unchanged + unwritten,
        inserted=outcome.inserted,
        updated=0 if completing else outcome.updated,
        unchanged=0 if completing else outcome.unchanged,
        waiting=outcome.waiting if waits else 0,
    )


def _step_after(part: Part, last: int) -> Step | None:
    """The step that a part goes to after the chunk that ends with the bucket `last`, None when it stays."""
    return "loaded" if last == staging.BUCKETS - 1 and part.step == "staged" else None
