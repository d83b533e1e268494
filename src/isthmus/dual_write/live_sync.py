"""Live sync: what a transaction changed is carried to the partner half, one batch per leg, before either commits.

Two handlers on the pipeline of each app: *pre-operation* locks the records a message is about (and reads what a delete
will remove), *before commit* carries everything over and arranges that both halves commit together. What business
logic on the partner works out comes back the same way, in the same transaction, until nothing new is left.

What becomes of a change depends on the state of its table map, which the save fixes by entering the map (see fence):
running, it is carried over; initializing, with a mark that keeps what initial sync has read before away; paused or
resuming, it is queued on the half it was made on; not running, it stays where it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import msgspec

from isthmus.apps.again import RunAgain
from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import LOCK_RANK, Stage, Step
from isthmus.apps.port import App
from isthmus.apps.principal import Half
from isthmus.dual_write.delivery import Delivery, project
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.fence import OTHER_GENERATION, QUEUEING, generation_condition
from isthmus.dual_write.leg import PARTNER, Leg, Projected
from isthmus.dual_write.leg_rows import lock_roots_sql
from isthmus.dual_write.legs import CurrentLegs, Legs
from isthmus.dual_write.parents import complete_references, note_unkeyed, parents_without_key
from isthmus.dual_write.partner_away import saves_refused
from isthmus.dual_write.queueing import queue_deletes, queue_upserts
from isthmus.dual_write.touched import touched_by
from isthmus.errors import IsthmusError, Rejected, Unavailable
from isthmus.store.crash_points import crash_point
from isthmus.store.two_phase import Resolve, commit_both

Refused = Callable[[Context, IsthmusError], Awaitable[None]]
"""Told of each save that live sync refused, outside of the save's own transaction."""

PauseAlone = Callable[[Collection[str], Half], Awaitable[object]]
"""Pauses table maps on the half named, because its partner is away."""

MAX_ROUNDS = 8
"""Times that changes may go back and forth in one save before two rules are taken to contradict each other."""


class LiveSync:
    """Live sync between two apps, by the states of the table maps."""

    def __init__(
        self,
        apps: Mapping[Half, App],
        legs: CurrentLegs,
        link: str,
        resolve: Resolve,
        refused: Refused,
        pause_alone: PauseAlone,
    ) -> None:
        self._apps = apps
        self._legs = legs
        self._link = link
        self._resolve = resolve
        self._refused = refused
        self._pause_alone = pause_alone

    def register(self) -> None:
        """Put the handlers on both pipelines."""
        for app in self._apps.values():
            app.pipeline.register(
                Step(stage=Stage.PRE_OPERATION, handler=self.lock_records, rank=LOCK_RANK, for_callers=True)
            )
            app.pipeline.before_commit(self.carry_over)

    async def lock_records(self, context: Context, message: Message) -> None:
        """Pre-operation: enter the message's table maps, lock what it is about before any row is, remember what a
        delete removes and what a record was called."""
        known: Exchange | None = context.shared.get(Exchange)
        legs = _legs_of_message(known.legs if known else self._legs.now, context, message)
        if message.through is not None or not legs:
            return
        exchange = self.exchange(context)
        if exchange.generation is None:
            await self.enter(exchange, (leg.name for leg in legs))
            legs = _legs_of_message(exchange.legs, context, message)
        async with self._partner_of(exchange, context, message):
            await exchange.enter(leg.name for leg in legs)
            await self._lock(exchange, context, message, legs)

    async def _lock(self, exchange: Exchange, context: Context, message: Message, legs: list[Leg]) -> None:
        legs = [leg for leg in legs if exchange.states[leg.name] != "not_running"]
        keys: dict[str, list[str]] = {}
        for leg in legs:
            if message.operation is Operation.DELETE:
                keys[leg.name] = await self._remember_deleted(exchange, context, leg, message)
            elif leg.is_two_way and exchange.is_live(leg.name):
                keys[leg.name] = await self._keys(context, leg, message)
        await exchange.lock((name, key) for name in keys if exchange.is_live(name) for key in keys[name])
        for name in keys:
            await exchange.mark(context.half, name, keys[name])
        if message.operation is Operation.UPDATE:
            for leg in legs:
                await self._prepare_rename(exchange, context, leg, message)

    async def carry_over(self, context: Context) -> None:
        """Before commit: exchange changes until both halves agree, then arrange the common commit."""
        if context.is_partner or not context.changes:
            return
        if Exchange not in context.shared and not self._concerns(context):
            context.finish = partial(self._commit_alone, self._legs.generation)
            return
        exchange = self.exchange(context)
        crash_point("after_origin_write")
        try:
            async with self._partner_of(exchange, context):
                await self.enter(exchange, ())
                await self.settle(exchange, context.half)
        except RunAgain:
            raise
        except IsthmusError as error:
            if not exchange.partner_is_away:  # which has been told of
                await self._refused(context, error)
            raise
        if exchange.has_partner_part:
            crash_point("after_partner_write")
            context.finish = self._commit_both

    def _concerns(self, context: Context) -> bool:
        """Whether any of the changes is of a table that a table map reads."""
        return any(self._legs.now.of_table(context.half, change.table) for change in context.changes)

    async def _commit_alone(self, generation: int, context: Context) -> None:
        """Commit what concerns no table map of a generation, unless there is a newer one, which it may concern."""
        try:
            await context.transaction.commit(generation_condition(generation))
        except asyncpg.PostgresError as error:
            if error.sqlstate != OTHER_GENERATION:
                raise
            raise RunAgain(
                "The table maps changed while this save went on. Nothing was saved; send the same request again.",
                code="table_map_changing",
                first=self._legs.refresh,
            ) from error

    async def enter(self, exchange: Exchange, table_maps: Iterable[str]) -> None:
        """The save's first entering of table maps: from now on their generation holds, and `exchange.legs` are its."""
        if exchange.generation is not None:
            return
        await exchange.enter(table_maps)
        legs = await self._legs.at(exchange.generation or 0)
        if legs is exchange.legs:
            return
        if exchange.origin.changes:
            raise RunAgain(
                "The table maps changed while this save went on. Nothing was saved; send the same request again.",
                code="table_map_changing",
            )
        exchange.legs = legs

    @asynccontextmanager
    async def _partner_of(
        self, exchange: Exchange, context: Context, message: Message | None = None
    ) -> AsyncIterator[None]:
        """When the partner half is away meanwhile, and the table maps of the save may pause themselves: run it again
        after they have, so that its changes are queued. Else it is refused, with what `message` is about, if any."""
        try:
            yield
        except Unavailable as error:
            if context.is_partner or not exchange.partner_is_away:
                raise
            if pausable := exchange.pausable():
                raise RunAgain(
                    f"{error.message} (The table maps of this save pause themselves.)",
                    code="partner_away",
                    first=partial(self._pause_alone, pausable, context.half),
                ) from error
            touched = await touched_by(exchange, context, context.changes)
            ids = {name: [*found.upserts, *found.deletes] for name, found in touched.items()}
            if message is not None:
                for leg in _legs_of_message(exchange.legs, context, message):
                    ids.setdefault(leg.name, []).extend(row.id for row in message.rows if row.id is not None)
            refused = await saves_refused(exchange, context, ids, error)
            for each in refused:
                await self._refused(context, each)
            raise refused[0] from error

    async def settle(self, exchange: Exchange, half: Half) -> None:
        """Carry over what is new, `half` first, until both halves agree."""
        while await self._flow(exchange, half, 0) or await self._flow(exchange, PARTNER[half], 0):
            exchange.rounds += 1
            self._check_rounds(exchange.rounds)

    def _check_rounds(self, rounds: int) -> None:
        if rounds > MAX_ROUNDS:
            raise Rejected(
                f"The two halves did not agree after {MAX_ROUNDS} rounds: business logic on each side keeps changing "
                "what the other side sets. Nothing was saved.",
                code="does_not_settle",
            )

    async def _commit_both(self, context: Context) -> None:
        exchange = self.exchange(context)
        async with self._partner_of(exchange, context):
            context.deferred = await commit_both(
                context.transaction, exchange.partner.transaction, exchange.gid, self._resolve
            )

    async def _flow(self, exchange: Exchange, source: Half, depth: int) -> bool:
        """Carry what is new on one half to the other, or queue it. False when nothing came over.

        After each leg the destination's own additions come back before the next leg is read: a number that F&O gave a
        party must stand in the customer that names it, be that carried over or queued.
        """
        self._check_rounds(depth)
        context = exchange.side(source)
        begin, end = exchange.news(source)
        touched = await touched_by(exchange, context, context.changes[begin:end])
        if not touched:
            return False
        await exchange.enter(touched)
        if context.is_partner:
            await exchange.join()
        legs = [leg for leg in exchange.legs.all[source] if leg.name in touched]
        delivery = Delivery(exchange, self._apps[PARTNER[source]])
        for leg in legs:
            upserts = await queue_upserts(exchange, context, leg, touched[leg.name].upserts)
            if upserts and exchange.is_live(leg.name):
                await self._carry(exchange, delivery, leg, upserts, depth)
        await delivery.complete_lookups()
        for leg in reversed(legs):
            deletes = await queue_deletes(exchange, context, leg, touched[leg.name].deletes)
            if deletes and exchange.is_live(leg.name):
                await delivery.delete(leg, deletes)
        return delivery.wrote

    async def _carry(
        self,
        exchange: Exchange,
        delivery: Delivery,
        leg: Leg,
        upserts: Mapping[RowId, set[str] | None],
        depth: int,
        above: frozenset[RowId] = frozenset(),
    ) -> None:
        """Carry records of a leg over, what they name before them and what that brings back after them.

        `above` are those on whose way to the partner these are carried.
        """
        self._check_rounds(depth)
        context = exchange.side(leg.source)
        records = await project(context, leg, upserts)
        if await self._carry_parents(exchange, delivery, leg, records, depth, above | upserts.keys()):
            records = await project(context, leg, upserts)
        await delivery.send(leg, records, upserts)
        await self._flow(exchange, PARTNER[leg.source], depth + 1)
        note_unkeyed(exchange, leg, records)
        await complete_references(exchange, delivery)

    async def _carry_parents(
        self,
        exchange: Exchange,
        delivery: Delivery,
        leg: Leg,
        records: Sequence[Projected],
        depth: int,
        above: frozenset[RowId],
    ) -> bool:
        """Carry rows over that these records name and that have no key, which the partner has still to give them.

        Such a row was made while its table map was stopped, or could not be carried then. True when one was carried;
        Rejected when its map is paused.
        """
        parents = await parents_without_key(exchange, leg, records, above)
        for parent_leg, ids in parents:
            if exchange.states[parent_leg.name] in QUEUEING:
                raise delivery.parent_held_back(leg, parent_leg, records)
            await self._carry(exchange, delivery, parent_leg, dict.fromkeys(ids), depth + 1, above)
        return bool(parents)

    def exchange(self, context: Context) -> Exchange:
        """The exchange of the save that this context belongs to; a new one when it has none yet."""
        exchange: Exchange | None = context.shared.get(Exchange)
        if exchange is None:
            exchange = Exchange(context, self._apps[PARTNER[context.half]], self._link, self._legs.now)
            context.shared[Exchange] = exchange
            context.on_close(exchange.close)
        return exchange

    async def _keys(self, context: Context, leg: Leg, message: Message) -> list[str]:
        """Keys of the records the message is about, as far as they are known before it runs."""
        if message.operation is Operation.CREATE:
            rows = [{**row.values, "id": number} for number, row in enumerate(message.rows)]
            found = await context.transaction.rows(leg.keys_of_values, msgspec.json.encode(rows).decode())
        else:
            found = await context.transaction.rows(leg.keys_of_ids, [row.id for row in message.rows])
        return [record["key"] for record in found if record["key"] is not None]

    async def _prepare_rename(self, exchange: Exchange, context: Context, leg: Leg, message: Message) -> None:
        """While the old key still leads there: find the counterparts of records whose key is about to change, or
        remember what they are called now."""
        renamed = [row.id for row in message.rows if row.id is not None and not leg.key_names.isdisjoint(row.values)]
        if not renamed:
            return
        if exchange.is_live(leg.name):
            await Delivery(exchange, self._apps[leg.destination]).pair(leg, renamed)
        if exchange.states[leg.name] in QUEUEING or (context.half, leg.name) in exchange.queued:
            for record in await project(context, leg, renamed):
                if record.passes and record.key is not None:
                    exchange.renamed.setdefault((leg.name, record.id), record)

    async def _remember_deleted(self, exchange: Exchange, context: Context, leg: Leg, message: Message) -> list[str]:
        """The records that a message deletes, as they stand; their keys.

        One without a key the partner may be giving its key at this moment: it is read again once nobody can any more.
        """
        ids = [row.id for row in message.rows if row.id is not None]
        records = [record for record in await project(context, leg, ids) if record.passes]
        without_key = [record.id for record in records if record.key is None]
        if without_key:
            await context.transaction.run(lock_roots_sql(leg, exchange.legs.catalog), without_key)
            again = {record.id: record for record in await project(context, leg, without_key)}
            records = [again.get(record.id, record) for record in records]
        exchange.deleted.update({(leg.name, record.id): record for record in records})
        return [record.key for record in records if record.key is not None]


def _legs_of_message(legs: Legs, context: Context, message: Message) -> list[Leg]:
    """Legs whose records the message names directly; others are found and locked when they are carried over."""
    if context.half == "dataverse":
        found = legs.of_table("dataverse", message.table)
        if message.operation is Operation.UPDATE:
            given = frozenset().union(*(row.values for row in message.rows))
            return [leg for leg in found if not given.isdisjoint(leg.triggers[message.table])]
        return found
    root = context.app.catalog.entity(message.table).root.table
    return [leg for leg in legs.of_table("finops", root) if leg.root == root]
