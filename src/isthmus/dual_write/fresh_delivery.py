"""Carries records of a leg to its destination as they stand now, many at a time, one refusal never stopping the others.

Each batch is a save of its own that begins on the destination half: the records are locked as live sync locks them,
read anew, written under the application user of dual-write, and what business logic works out there flows back in the
same commit. So nothing older than what live sync has written is ever written, whatever goes on meanwhile. A batch that
is refused is divided until the record is found that is to blame.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import asyncpg

from isthmus.apps.again import RunAgain
from isthmus.apps.port import App
from isthmus.apps.principal import DUAL_WRITE, Half
from isthmus.dataverse.app import DataverseApp
from isthmus.dual_write.delivery import project
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.fresh_batch import Carried, FreshBatch
from isthmus.dual_write.leg import Leg, Projected
from isthmus.dual_write.leg_rows import lock_roots_sql
from isthmus.dual_write.live_sync import LiveSync
from isthmus.dual_write.precedence import SOURCE_DECIDES, Precedence
from isthmus.dual_write.record_lock import lock_number, lock_records
from isthmus.dual_write.refusals import INCOMPLETE, refusal
from isthmus.errors import IsthmusError, Rejected, Retriable, Unavailable
from isthmus.finops.app import FinopsApp
from isthmus.store.transaction import Transaction

PATIENCE = "300ms"
"""How long a batch waits for a lock: less than PostgreSQL waits before it looks for a deadlock, so that it is the batch
that gives way, and live saves wait no longer for it than this."""

ATTEMPTS = 25
"""Times that a batch that lost a race is tried again, with pauses that grow to a second, before the caller is told."""

NOTHING: Mapping[str, frozenset[str]] = {}


Book = Callable[[Transaction, Carried], Awaitable[None]]
"""Keeps account of a batch, in the destination's transaction that writes it."""


class FreshDelivery:
    """Carries records of any leg between the two apps."""

    def __init__(self, dataverse: DataverseApp, finops: FinopsApp, live_sync: LiveSync) -> None:
        self._apps: dict[Half, App] = {"dataverse": dataverse, "finops": finops}
        self._finops = finops
        self._live_sync = live_sync

    async def carry(
        self,
        leg: Leg,
        ids: Sequence[RowId],
        book: Book,
        *,
        precedence: Precedence = SOURCE_DECIDES,
        lacking: Mapping[str, frozenset[str]] = NOTHING,
        correlation_id: str,
    ) -> None:
        """Carry these records, given in the order in which they are to be booked.

        `precedence` says what happens to records that the destination has; `lacking` names, by record, columns that an
        earlier attempt had to leave out. Raises Retriable or Unavailable, when what has been booked stands.
        """
        try:
            await self._patiently(leg, ids, book, precedence, lacking, correlation_id)
        except (Retriable, Unavailable):
            raise
        except (IsthmusError, asyncpg.DataError) as error:
            if len(ids) == 1:
                return await self._book_refused(leg, ids[0], book, _known(error), correlation_id)
            half = len(ids) // 2
            for part in (ids[:half], ids[half:]):
                await self.carry(leg, part, book, precedence=precedence, lacking=lacking, correlation_id=correlation_id)

    async def _patiently(self, *arguments: Any) -> None:
        """Run the batch until it has lost no race."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._attempt(*arguments)
            except Retriable as error:
                if isinstance(error, RunAgain) and error.first is not None:
                    await error.first()
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(min(0.02 * 2**attempt, 1.0) * random.random())

    async def _attempt(
        self,
        leg: Leg,
        ids: Sequence[RowId],
        book: Book,
        precedence: Precedence,
        lacking: Mapping[str, frozenset[str]],
        correlation_id: str,
    ) -> None:
        app = self._apps[leg.destination]
        async with app.context(DUAL_WRITE, correlation_id=correlation_id) as context:
            await context.transaction.run(f"set local lock_timeout = '{PATIENCE}'")
            exchange = self._live_sync.exchange(context)
            await self._hold(exchange, leg, ids)
            records = await project(exchange.partner, leg, ids)
            batch = FreshBatch(exchange, leg, self._apps, self._finops, precedence, lacking)
            carried = await batch.write(ids, records)
            # Not by way of the context: a refusal here is no refused save of anybody's, it is kept as a refused record.
            await self._live_sync.settle(exchange, leg.destination)
            await book(context.transaction, carried)
            await context.commit()

    async def _hold(self, exchange: Exchange, leg: Leg, ids: Sequence[RowId]) -> None:
        """Keep live saves of these records out, on both halves, before they are read."""
        await self._live_sync.enter(exchange, [leg.name])
        await exchange.join()
        source = exchange.partner.transaction
        await source.run(f"set local lock_timeout = '{PATIENCE}'")
        if not leg.is_two_way:
            # Live sync takes no record locks for such a map; its saves are the ones that lock the record itself.
            await source.run(lock_roots_sql(leg, exchange.legs.catalog), list(ids))
            return
        found = await source.rows(leg.keys_of_ids, list(ids))
        keys = [record["key"] for record in found if record["key"] is not None]
        without_key = [record["id"] for record in found if record["key"] is None]
        if without_key:
            await source.run(lock_roots_sql(leg, exchange.legs.catalog), without_key)
        await exchange.lock((leg.name, key) for key in keys)
        await lock_records(exchange.side("dataverse").transaction, (lock_number(leg.name, key) for key in keys))

    async def _book_refused(self, leg: Leg, id_: RowId, book: Book, error: IsthmusError, correlation_id: str) -> None:
        """Keep account of a record that can't be written at all."""
        app = self._apps[leg.destination]
        record = await self._as_it_stands(leg, id_)
        details = error.details
        column = details.get("field") or details.get("column")
        value = details.get("value")
        refused = refusal(
            record,
            code=error.code,
            message=error.message,
            columns=[str(column)] if column else [],
            value=None if value is None else str(value),
            missing_parent=str(value) if error.code in (INCOMPLETE, "reference_not_found") and value else None,
        )
        async with app.context(DUAL_WRITE, correlation_id=correlation_id) as context:
            await book(context.transaction, Carried(ids=[id_], refusals=[refused]))
            await context.commit()

    async def _as_it_stands(self, leg: Leg, id_: RowId) -> Projected:
        """The record of a refusal, without values where even its projection fails."""
        try:
            async with self._apps[leg.source].context(DUAL_WRITE, correlation_id="") as context:
                for record in await project(context, leg, [id_]):
                    return record
        except asyncpg.DataError:
            pass
        return Projected(id=id_, company=None, passes=True, key=None, faults=[], values={})


def _known(error: Exception) -> IsthmusError:
    if isinstance(error, IsthmusError):
        return error
    return Rejected(f"A value of the record is out of range: {error}. Correct it.", code="value_out_of_range")
