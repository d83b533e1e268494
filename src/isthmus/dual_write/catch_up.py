"""Catch-up: what was changed while table maps were paused is delivered in the order of commits, then they go live.

Changes are delivered in batches, each a save on both halves: the partner gets them through its own pipeline, and the
queue loses them in the same commit. So nothing is lost or delivered twice, wherever a process dies. At last the fences
of the table maps hold all writers for the few changes that are left, and the state changes in that very save.

A batch that is refused is tried again in smaller ones, down to one save of its origin and then to one change. That one
stays in the queue with its reason; later changes of the same record wait behind it, everything else flows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from isthmus.apps.port import App
from isthmus.apps.principal import DUAL_WRITE, Half
from isthmus.dual_write import backlog
from isthmus.dual_write.activity import ActivityLog
from isthmus.dual_write.backlog import Queued
from isthmus.dual_write.catch_up_task import CatchUpTask, conflict_entry, refusal_entry, result_entries
from isthmus.dual_write.conflicts import Conflict
from isthmus.dual_write.dependencies import dependents
from isthmus.dual_write.exchange import Exchange
from isthmus.dual_write.fence import take_fences
from isthmus.dual_write.live_sync import LiveSync
from isthmus.dual_write.map_state import MapStates, Told
from isthmus.dual_write.replay import Replay
from isthmus.dual_write.request_runner import Progress
from isthmus.dual_write.requests import Request
from isthmus.dual_write.state_rows import StateChange, write_state
from isthmus.errors import Bug, IsthmusError, Retriable, Unavailable
from isthmus.observe import log
from isthmus.store.transaction import LOST
from isthmus.store.two_phase import Resolve, commit_both

Result = TypeVar("Result")

HALVES: tuple[Half, ...] = ("finops", "dataverse")

BATCH = 256
"""Changes of one save, at most, but for those that belong to one save of their origin."""

FIRST_BATCH = 8
"""Changes of the first save, each later one takes up to twice as many: where processes or databases keep dying before a
large batch is done, small ones still get through.
"""

LAST_CHANGES = 64
"""Changes, about, that are delivered at once while all writers of the table maps wait."""

HOLD_MILLISECONDS = 500
"""How long the last save waits for any lock while it holds all writers."""

MOST_RACES = 200
"""Saves in a row that may lose a race before the request pauses for a while."""

TRANSIENT = (Retriable, Unavailable, *LOST)
"""Says nothing about the changes: the same save may go through later."""


class RefusedChanges(Exception):
    """A batch was refused; its cause says why."""

    def __init__(self, changes: Sequence[Queued]) -> None:
        super().__init__(f"{len(changes)} changes were refused together")
        self.changes = changes


class CatchUp:
    """Carries out requests to catch up, between two apps. `told` hears of each change of state."""

    def __init__(
        self,
        apps: Mapping[Half, App],
        live_sync: LiveSync,
        states: MapStates,
        activity: ActivityLog,
        resolve: Resolve,
        told: Told,
    ) -> None:
        self._apps = apps
        self._pools = {half: app.pool.origin for half, app in apps.items()}
        self._live_sync = live_sync
        self._states = states
        self._activity = activity
        self._resolve = resolve
        self._told = told

    async def resume(self, request: Request, progress: Progress) -> None:
        """Bring paused table maps live again, in the way that CatchUpParameters say. A handler of requests.

        Stopped half way, by cancelling or by a fault, it leaves them paused; a change that is refused does not stop it.
        """
        task = CatchUpTask(request, progress, self._pools)
        live = task.parameters.live
        if live == "discard":
            await self._states.change(task.table_maps, "running", by=task.by, reason="discarded", queued="discard")
            return
        try:
            if live == "keep":
                await self._states.change(task.table_maps, "running", by=task.by, queued="keep")
            elif not await self._has_gone_live(task):
                await self._states.change(task.table_maps, "resuming", by=task.by)
            await self._catch_up(task)
        except (*TRANSIENT, asyncio.CancelledError):
            raise
        except BaseException:
            await self._pause_again(task)
            raise
        await self._tell_result(task)

    async def deliver(self, request: Request, progress: Progress) -> None:
        """Deliver what may be delivered of table maps that are running: after a retry. A handler of requests."""
        task = CatchUpTask(request, progress, self._pools)
        await self._catch_up(task)
        await self._tell_result(task)

    async def _has_gone_live(self, task: CatchUpTask) -> bool:
        """Whether this request has brought its table maps live already, in a process that died before it could say."""
        states = await self._states.read(task.table_maps)
        return all(state.state == "running" for state in states.values())

    async def _pause_again(self, task: CatchUpTask) -> None:
        states = await self._states.read(task.table_maps)
        resuming = [name for name, state in states.items() if state.state == "resuming"]
        if resuming:
            await self._states.change(resuming, "paused", by=task.by, reason="catch_up_stopped")

    async def _catch_up(self, task: CatchUpTask) -> None:
        """Deliver while writers write, for as long as that brings the end nearer; the rest while they wait."""
        while True:
            await self._drain(task)
            try:
                while not await self._patiently(self._go_live, task):
                    await task.report()
            except RefusedChanges as refused:
                log.info("last_changes_refused", error=str(refused.__cause__))
                continue
            return

    async def _drain(self, task: CatchUpTask) -> None:
        """Deliver what the queues hold, again and again while each time less than half as much has come in."""
        waiting = await task.count()
        while True:
            for half in HALVES:
                await self._drain_half(task, half, waiting)
            before, waiting = waiting, await task.count()
            if waiting > before // 2 or waiting <= LAST_CHANGES:
                return

    async def _drain_half(self, task: CatchUpTask, source: Half, most: int) -> None:
        """Deliver what the queue of one half holds, about `most` changes of it."""
        moved, size = 0, FIRST_BATCH
        while moved <= most:
            await task.report()
            try:
                changes = await self._patiently(self._deliver_batch, task, source, size)
            except RefusedChanges as refused:
                if len(refused.changes) > 1:
                    size = 0 if size <= 1 else min(size, len(refused.changes)) // 2
                    continue
                await self._keep(task, source, refused.changes[0], refused.__cause__)
                changes, size = refused.changes, 1
            if not changes:
                return
            moved += len(changes)
            size = min(2 * size, BATCH) or 1

    async def _deliver_batch(self, task: CatchUpTask, source: Half, size: int) -> Sequence[Queued]:
        """One save: the oldest changes of a half, delivered and taken out of its queue."""
        async with self._save(task, source) as exchange:
            table_maps = _deliverable(task, exchange)
            replay = Replay(exchange, self._apps, task.parameters.master)
            changes = await replay.next_changes(source, table_maps, size)
            if not changes:
                return ()
            with _refusing(changes):
                await self._deliver_held(task, exchange, replay, source, changes)
                await self._commit(exchange)
        task.note_delivered(changes)
        return changes

    async def _deliver_held(
        self, task: CatchUpTask, exchange: Exchange, replay: Replay, source: Half, changes: Sequence[Queued]
    ) -> None:
        await replay.deliver(source, changes)
        await self._live_sync.settle(exchange, source)
        await replay.check_unopposed(source, changes)
        await self._record_conflicts(task, replay.conflicts)

    async def _go_live(self, task: CatchUpTask) -> bool:
        """Hold all writers, deliver what is left, and let the table maps run.

        False when that was too much for once: some of it is done then, and writers get a turn. RefusedChanges when the
        partner refuses one.
        """
        async with self._save(task, "finops", hold=True) as exchange:
            table_maps = _deliverable(task, exchange)
            delivered: list[Queued] = []
            for half in HALVES * 2:
                most = LAST_CHANGES - len(delivered)
                replay = Replay(exchange, self._apps, task.parameters.master)
                changes = await replay.next_changes(half, table_maps, most) if most > 0 else []
                if changes:
                    with _refusing(changes):
                        await self._deliver_held(task, exchange, replay, half, changes)
                    delivered += changes
            left = [await backlog.next_changes(exchange.side(half).transaction, table_maps, 0) for half in HALVES]
            is_done = not any(left)
            resumed = [name for name in table_maps if is_done and exchange.states[name] == "resuming"]
            needing = dependents(exchange.legs.catalog)
            for half in HALVES:
                transaction = exchange.side(half).transaction
                await write_state(transaction, resumed, "running", by=task.by)
                await backlog.free_referring(transaction, {other for name in resumed for other in needing[name]})
            await self._commit(exchange)
        task.note_delivered(delivered)
        for name in resumed:
            change = StateChange(table_map=name, before="resuming", after="running", reason=None, by=task.by)
            await self._told(change)
        return is_done

    @asynccontextmanager
    async def _save(self, task: CatchUpTask, origin: Half, *, hold: bool = False) -> AsyncIterator[Exchange]:
        """A save in the name of dual-write that begins on this half; `hold` keeps all writers of the table maps out."""
        context = self._apps[origin].context(DUAL_WRITE, correlation_id=task.correlation_id)
        async with context:
            exchange = self._live_sync.exchange(context)
            await exchange.begin()
            if hold:
                for half in HALVES:
                    transaction = exchange.side(half).transaction
                    await transaction.run(f"set local lock_timeout = {HOLD_MILLISECONDS}")
                    await take_fences(transaction, task.table_maps)
            await self._live_sync.enter(exchange, task.table_maps)
            yield exchange

    async def _commit(self, exchange: Exchange) -> None:
        await commit_both(exchange.origin.transaction, exchange.partner.transaction, exchange.gid, self._resolve)

    async def _patiently(self, save: Callable[..., Awaitable[Result]], task: CatchUpTask, *arguments: Any) -> Result:
        """Try a save until it loses no race, letting writers pass in between."""
        for _ in range(MOST_RACES):
            try:
                return await save(task, *arguments)
            except Retriable as error:
                lost = error
            task.progress.check_cancelled()
            await asyncio.sleep(random.uniform(0.0, 0.1))
        raise lost

    async def _keep(self, task: CatchUpTask, source: Half, change: Queued, error: BaseException | None) -> None:
        """Let a refused change stay in the queue, and tell of it."""
        if not isinstance(error, IsthmusError):
            log.error("queued_change_failed", table_map=change.table_map, id=change.id, exc_info=error)
            error = Bug(f"A fault of our own stopped this change: {error!r}. Report it; the log has the details.")
        await backlog.fail(self._pools[source], change, error)
        task.note_refused(change)
        await self._activity.record(refusal_entry(task, source, change, error))

    async def _record_conflicts(self, task: CatchUpTask, conflicts: Sequence[Conflict]) -> None:
        """Before the commit: a conflict may be told of twice when a process dies, but it is never silent."""
        await self._activity.record(*(conflict_entry(task, conflict) for conflict in conflicts))

    async def _tell_result(self, task: CatchUpTask) -> None:
        await task.report()
        await self._activity.record(*result_entries(task))


@contextmanager
def _refusing(changes: Sequence[Queued]) -> Iterator[None]:
    """Tells what the partner says of these changes from what says nothing about them."""
    try:
        yield
    except TRANSIENT:
        raise
    except Exception as error:
        raise RefusedChanges(changes) from error


def _deliverable(task: CatchUpTask, exchange: Exchange) -> list[str]:
    """The table maps whose changes may go: not those that somebody has paused or stopped meanwhile."""
    return [name for name in task.table_maps if exchange.states[name] in ("resuming", "running")]
