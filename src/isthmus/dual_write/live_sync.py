"""Live sync: what a transaction changed is carried to the partner half, one batch per leg, before either commits.

Two handlers on the pipeline of each app: *pre-operation* locks the records a message is about (and reads what a delete
will remove), *before commit* carries everything over and arranges that both halves commit together. What business
logic on the partner works out comes back the same way, in the same transaction, until nothing new is left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from isthmus.apps.change import Change, Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import LOCK_RANK, Stage, Step
from isthmus.apps.port import App
from isthmus.apps.principal import Half
from isthmus.dual_write.delivery import Delivery, project
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.leg import PARTNER, Leg
from isthmus.dual_write.legs import Legs
from isthmus.errors import IsthmusError, Rejected
from isthmus.store.crash_points import crash_point
from isthmus.store.two_phase import Resolve, commit_both

Refused = Callable[[Context, IsthmusError], Awaitable[None]]
"""Told of each save that live sync refused, outside of the save's own transaction."""

MAX_ROUNDS = 8
"""Times that changes may go back and forth in one save before two rules are taken to contradict each other."""


class Touched(msgspec.Struct):
    """Records of one leg that a transaction touched: root id -> destination values to send, None for all of them."""

    upserts: dict[RowId, set[str] | None] = {}
    deletes: list[RowId] = []


class News(msgspec.Struct, frozen=True):
    """What a leg's destination has not seen of a change: the destination values that follow from it, or everything."""

    values: frozenset[str]
    everything: bool

    def __or__(self, other: News) -> News:
        return News(self.values | other.values, self.everything or other.everything)


NOTHING_NEW = News(frozenset(), False)


class LiveSync:
    """Live sync between two apps over the legs of all running table maps."""

    def __init__(self, apps: Mapping[Half, App], legs: Legs, link: str, resolve: Resolve, refused: Refused) -> None:
        self._apps = apps
        self._legs = legs
        self._link = link
        self._resolve = resolve
        self._refused = refused

    def register(self) -> None:
        """Put the handlers on both pipelines."""
        for app in self._apps.values():
            app.pipeline.register(Step(stage=Stage.PRE_OPERATION, handler=self.lock_records, rank=LOCK_RANK))
            app.pipeline.before_commit(self.carry_over)

    async def lock_records(self, context: Context, message: Message) -> None:
        """Pre-operation: lock what the message is about before any row is; remember what a delete removes."""
        if message.through is not None:
            return
        legs = self._legs_of_message(context, message)
        if not legs:
            return
        exchange = self._exchange(context)
        keys: list[tuple[str, str]] = []
        for leg in legs:
            if message.operation is Operation.DELETE:
                keys += await self._remember_deleted(exchange, context, leg, message)
            elif leg.is_two_way:
                keys += await self._keys(context, leg, message)
        await exchange.lock(keys)
        if message.operation is Operation.UPDATE:
            for leg in legs:
                await self._pair_before_rename(exchange, leg, message)

    async def carry_over(self, context: Context) -> None:
        """Before commit: exchange changes until both halves agree, then arrange the common commit."""
        if context.is_partner or not any(self._legs.of_table(context.half, c.table) for c in context.changes):
            return
        exchange = self._exchange(context)
        crash_point("after_origin_write")
        try:
            await self._settle(exchange, context.half)
        except IsthmusError as error:
            await self._refused(context, error)
            raise
        if exchange.partner.changes:
            crash_point("after_partner_write")
            context.finish = self._commit_both

    async def _settle(self, exchange: Exchange, half: Half) -> None:
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
        exchange = self._exchange(context)
        context.deferred = await commit_both(
            context.transaction, exchange.partner.transaction, exchange.gid, self._resolve
        )

    async def _flow(self, exchange: Exchange, source: Half, depth: int) -> bool:
        """Carry what is new on one half to the other. False when nothing was.

        After each leg the destination's own additions come back before the next leg is read: a number that F&O gave a
        party must stand in the customer that names it.
        """
        self._check_rounds(depth)
        context = exchange.side(source)
        begin, end = exchange.news(source)
        touched = await self._touched(context, context.changes[begin:end])
        if not touched:
            return False
        await exchange.begin()
        delivery = Delivery(exchange, self._apps[PARTNER[source]])
        for leg in self._legs.all[source]:
            if leg.name in touched and touched[leg.name].upserts:
                await delivery.upsert(leg, touched[leg.name].upserts)
                await self._flow(exchange, PARTNER[source], depth + 1)
        await delivery.complete_lookups()
        for leg in reversed(self._legs.all[source]):
            if leg.name in touched and touched[leg.name].deletes:
                await delivery.delete(leg, touched[leg.name].deletes)
        return delivery.wrote

    async def _touched(self, context: Context, changes: list[Change]) -> dict[str, Touched]:
        """Which records of which legs these changes concern, and which destination values follow from them."""
        touched: dict[str, Touched] = {}
        elsewhere: dict[tuple[str, str], dict[RowId, News]] = {}
        for change in changes:
            for leg in self._legs.of_table(context.half, change.table):
                if change.operation is Operation.DELETE:
                    if change.table == leg.root and change.through != leg.name:
                        touched.setdefault(leg.name, Touched()).deletes.append(change.id)
                    continue
                news = _news_of(leg, change)
                if news is None:
                    continue
                if change.table == leg.root:
                    _add(touched.setdefault(leg.name, Touched()), change.id, news)
                else:
                    rows = elsewhere.setdefault((leg.name, change.table), {})
                    rows[change.id] = rows.get(change.id, NOTHING_NEW) | news
        for (name, table), rows in elsewhere.items():
            leg = self._legs.by_map[name, context.half]
            for record in await context.transaction.rows(leg.roots[table], list(rows)):
                _add(touched.setdefault(name, Touched()), record["root"], rows[record["id"]])
        return touched

    def _legs_of_message(self, context: Context, message: Message) -> list[Leg]:
        """Legs whose records the message names directly; others are found and locked when they are carried over."""
        if context.half == "dataverse":
            legs = self._legs.of_table("dataverse", message.table)
            if message.operation is Operation.UPDATE:
                given = frozenset().union(*(row.values for row in message.rows))
                return [leg for leg in legs if not given.isdisjoint(leg.triggers[message.table])]
            return legs
        entity = context.app.catalog.entity(message.table)
        return [leg for leg in self._legs.of_table("finops", entity.root.table) if leg.root == entity.root.table]

    def _exchange(self, context: Context) -> Exchange:
        exchange: Exchange | None = context.shared.get(Exchange)
        if exchange is None:
            exchange = Exchange(context, self._apps[PARTNER[context.half]], self._link)
            context.shared[Exchange] = exchange
            context.on_close(exchange.close)
        return exchange

    async def _keys(self, context: Context, leg: Leg, message: Message) -> list[tuple[str, str]]:
        """Keys of the records the message is about, as far as they are known before it runs."""
        if message.operation is Operation.CREATE:
            rows = [{**row.values, "id": number} for number, row in enumerate(message.rows)]
            found = await context.transaction.rows(leg.keys_of_values, msgspec.json.encode(rows).decode())
        else:
            found = await context.transaction.rows(leg.keys_of_ids, [row.id for row in message.rows])
        return [(leg.name, record["key"]) for record in found if record["key"] is not None]

    async def _pair_before_rename(self, exchange: Exchange, leg: Leg, message: Message) -> None:
        """Find the counterparts of records whose key is about to change, while their old key still leads there."""
        renamed = [row.id for row in message.rows if row.id is not None and not leg.key_names.isdisjoint(row.values)]
        if renamed:
            await Delivery(exchange, self._apps[leg.destination]).pair(leg, renamed)

    async def _remember_deleted(
        self, exchange: Exchange, context: Context, leg: Leg, message: Message
    ) -> list[tuple[str, str]]:
        ids = [row.id for row in message.rows if row.id is not None]
        keys = []
        for record in await project(context, leg, ids):
            if record.passes and record.key is not None:
                exchange.deleted[leg.name, record.id] = record
                keys.append((leg.name, record.key))
        return keys


def _news_of(leg: Leg, change: Change) -> News | None:
    """What is new to the leg's destination; None when the change does not concern it.

    A value that the destination sent itself is no news to it. What goes this way only is, and so is all that the
    source shows because of it.
    """
    is_echo = change.through == leg.name
    is_created = change.operation is Operation.CREATE and change.table == leg.root
    if is_created and not is_echo:
        return News(frozenset(), True)
    values: set[str] = set(leg.one_way) if is_created else set()
    everything = concerned = False
    triggers = leg.triggers.get(change.table, {})
    for column in change.columns & triggers.keys():
        outputs = triggers[column]
        if is_echo and column in change.given:
            outputs &= leg.one_way
            if not outputs:
                continue
        concerned = True
        values |= outputs
        everything = everything or (change.table, column) in leg.filter_columns
    shown = leg.shown_by.get(change.table, {})
    values.update(*(shown[column] for column in change.columns & shown.keys()))
    if not concerned and not values:
        return None
    return News(frozenset(values), everything)


def _add(touched: Touched, root: RowId, news: News) -> None:
    known = touched.upserts.get(root, set())
    touched.upserts[root] = None if news.everything or known is None else known | news.values
