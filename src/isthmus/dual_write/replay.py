"""Replay: changes out of the queue of one half delivered to the other, in one save, as they were made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from isthmus.apps.port import App
from isthmus.apps.principal import Half
from isthmus.dual_write import backlog
from isthmus.dual_write.backlog import Queued, waves
from isthmus.dual_write.conflicts import Conflict, Side, settle
from isthmus.dual_write.delivery import Delivery, project
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.keys_given import bring_home, take_own
from isthmus.dual_write.leg import PARTNER, Leg
from isthmus.dual_write.leg_rows import lock_roots_sql
from isthmus.errors import Retriable
from isthmus.store.transaction import Transaction


class Replay:
    """Delivers changes within one exchange; `master` is the half whose values stand where both halves changed one.

    `conflicts` grows with what was settled so.
    """

    def __init__(self, exchange: Exchange, apps: Mapping[Half, App], master: Half) -> None:
        self._exchange = exchange
        self._apps = apps
        self._master = master
        self._known: dict[Half, set[int]] = {"dataverse": set(), "finops": set()}
        self.conflicts: list[Conflict] = []

    async def next_changes(self, source: Half, table_maps: Sequence[str], limit: int) -> list[Queued]:
        """The oldest changes of a half that wait for nothing, held until the save ends (see backlog.next_changes).

        Their records are locked before they are, in the order in which live saves of the same records lock: otherwise
        each might hold, on one half, what the other waits for on the other half, where no database sees the circle.
        """
        transaction = self._transaction(source)
        while True:
            found = await backlog.next_changes(transaction, table_maps, limit)
            if not found:
                return found
            await self._exchange.begin()
            await self._lock(source, found)
            held = await backlog.hold(transaction, found)
            if held:
                return held

    async def deliver(self, source: Half, changes: Sequence[Queued]) -> None:
        """Deliver changes held by `next_changes`, each record's one after the other, and take them out of the queue.

        Raises what the partner raises when it refuses one; the save must then be rolled back.
        """
        transaction = self._transaction(source)
        self._exchange.replayed = source
        for leg in self._exchange.legs.all[source]:
            await take_own(self._exchange, leg, changes)
        await self._lock(source, changes)
        await self._settle_conflicts(source, changes)
        await self._project_again(source, changes)
        await self._lock_without_key(source, changes)
        await self._note_gone(source, changes)
        delivery = Delivery(self._exchange, self._apps[PARTNER[source]])
        for wave in waves(change for change in changes if not change.is_void):
            await self._deliver_wave(delivery, source, wave, changes)
        await backlog.remove(transaction, [change.id for change in changes])
        for change in changes:
            if change.attempts:
                await backlog.free_dependents(transaction, change)

    async def check_unopposed(self, source: Half, changes: Sequence[Queued]) -> None:
        """After a delivery, which holds the rows it wrote: that nobody changed these records on the other half between
        the look for conflicts and the writing. Retriable (`changed_meanwhile`) when somebody did."""
        destination = PARTNER[source]
        keys = _keys(changes, self._exchange.legs.all[destination])
        answers = self._exchange.origin.correlation_id
        for change in await backlog.changes_of(self._transaction(destination), keys):
            if change.id not in self._known[destination] and change.correlation_id != answers:
                raise Retriable(
                    "A record was changed on both halves at this very moment. Nothing was saved; it is tried again.",
                    code="changed_meanwhile",
                )

    async def _deliver_wave(
        self, delivery: Delivery, source: Half, wave: Sequence[Queued], changes: Sequence[Queued]
    ) -> None:
        """Changes of different records: what live sync does with one save. Table maps that others need go first."""
        by_leg: dict[str, list[Queued]] = {}
        for change in wave:
            by_leg.setdefault(change.table_map, []).append(change)
        legs = [leg for leg in self._exchange.legs.all[source] if leg.name in by_leg]
        for leg in legs:
            upserts = [change for change in by_leg[leg.name] if change.operation == "upsert"]
            await delivery.pair_records(leg, [change.renamed_from for change in upserts if change.renamed_from])
            touched = {change.record.id: change.new_values for change in upserts}
            await delivery.send(leg, [change.record for change in upserts], touched)
            filled = await bring_home(self._exchange, self._apps[source], leg, upserts, changes)
            named = {change.record.id: filled[change.id] for change in upserts if change.id in filled}
            await delivery.send(leg, [change.record for change in upserts if change.id in filled], named)
        await delivery.complete_lookups()
        for leg in reversed(legs):
            deletes = [change.record for change in by_leg[leg.name] if change.operation == "delete"]
            await delivery.remove(leg, deletes)

    async def _settle_conflicts(self, source: Half, changes: Sequence[Queued]) -> None:
        """Where the other half's queue has changes of the same records, one of each two gives way."""
        destination = PARTNER[source]
        back = self._legs_from(destination)
        found = await self._changes_against(destination, back, changes)
        if not found:
            return
        self._known[destination] |= {change.id for change in found}
        theirs: dict[tuple[str, str], list[Side]] = {}
        for change in found:
            side = Side(back[change.table_map], change)
            for key in change.keys:
                theirs.setdefault((change.table_map, key), []).append(side)
        legs = self._legs_from(source)
        for change in changes:
            mine = Side(legs[change.table_map], change)
            opposite = {side.change.id: side for key in change.keys for side in theirs.get((change.table_map, key), ())}
            for side in opposite.values():
                if side.change.renamed_from is not None and not change.is_void:
                    self._exchange.pair(mine.leg, change.record.id, side.change.record.id)
                conflict = settle(mine, side, self._master)
                if conflict is not None:
                    self.conflicts.append(conflict)
            await backlog.keep_lost(self._transaction(source), change, mine.lost)
        for side in {side.change.id: side for sides in theirs.values() for side in sides}.values():
            if side.is_narrowed:
                await backlog.keep_lost(self._transaction(destination), side.change, side.lost)
                await backlog.narrow(self._transaction(destination), side.change)

    async def _changes_against(
        self, destination: Half, back: Mapping[str, Leg], changes: Sequence[Queued]
    ) -> list[Queued]:
        """Changes of the same records in the queue there, read once their rows are locked: nobody adds to them then.

        A record that stands on several rows there, or has no such changes yet, may still get one (`check_unopposed`).
        """
        transaction = self._transaction(destination)
        keys = _keys(changes, back.values())
        rows: dict[str, set[RowId]] = {}
        for change in await backlog.changes_of(transaction, keys):
            rows.setdefault(change.table_map, set()).add(change.record.id)
        for table_map, ids in rows.items():
            await transaction.run(lock_roots_sql(back[table_map], self._exchange.legs.catalog), list(ids))
        return await backlog.changes_of(transaction, keys) if rows else []

    async def _project_again(self, source: Half, changes: Sequence[Queued]) -> None:
        """A value without counterpart was queued as a fault. Whoever retries has mended the value map or the record:
        the record is taken as it stands now."""
        legs = self._legs_from(source)
        for change in changes:
            if change.attempts and change.record.faults and change.operation == "upsert":
                for record in await project(self._exchange.side(source), legs[change.table_map], [change.record.id]):
                    change.record = record

    async def _lock_without_key(self, source: Half, changes: Sequence[Queued]) -> None:
        """A record without a key can't be locked by it: its row is, so that nobody changes or deletes it meanwhile."""
        legs = self._legs_from(source)
        by_leg: dict[str, list[RowId]] = {}
        for change in changes:
            if change.operation == "upsert" and change.record.key is None:
                by_leg.setdefault(change.table_map, []).append(change.record.id)
        for name, ids in by_leg.items():
            await self._transaction(source).run(lock_roots_sql(legs[name], self._exchange.legs.catalog), ids)

    async def _note_gone(self, source: Half, changes: Sequence[Queued]) -> None:
        """Records whose deletion waits further back: what the partner works out for them has nowhere to go."""
        legs = self._legs_from(source)
        by_leg: dict[str, set[RowId]] = {}
        for change in changes:
            if change.operation == "upsert":
                by_leg.setdefault(change.table_map, set()).add(change.record.id)
        for name, ids in by_leg.items():
            found = await self._transaction(source).rows(legs[name].keys_of_ids, list(ids))
            self._exchange.gone |= {(source, id_) for id_ in ids - {record["id"] for record in found}}

    async def _lock(self, source: Half, changes: Sequence[Queued]) -> None:
        await self._exchange.lock(_keys(changes, (leg for leg in self._exchange.legs.all[source] if leg.is_two_way)))

    def _legs_from(self, source: Half) -> dict[str, Leg]:
        return {leg.name: leg for leg in self._exchange.legs.all[source]}

    def _transaction(self, half: Half) -> Transaction:
        return self._exchange.side(half).transaction


def _keys(changes: Sequence[Queued], legs: Iterable[Leg]) -> set[tuple[str, str]]:
    """Keys that the changes know their records by, of table maps that have one of these legs."""
    names = {leg.name for leg in legs}
    return {(change.table_map, key) for change in changes if change.table_map in names for key in change.keys}
