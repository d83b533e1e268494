"""What becomes of the requests that administrators submit: how each action is carried out, or continued.

A handler may be called again by another process after any of its steps: each looks first at what stands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.activity import ActivityLog, Entry
from isthmus.dual_write.backlog import free_referring_now
from isthmus.dual_write.catch_up import CatchUp
from isthmus.dual_write.catch_up_watch import DELIVER, RESUME
from isthmus.dual_write.dependencies import dependents
from isthmus.dual_write.initial_sync import InitialSync, Summary
from isthmus.dual_write.legs import CurrentLegs
from isthmus.dual_write.map_state import MapStates, Queued
from isthmus.dual_write.operations import PauseParameters, RunParameters, StopParameters
from isthmus.dual_write.request_runner import Handler, Progress
from isthmus.dual_write.requests import Request, Requests
from isthmus.errors import Rejected, Retriable, Unavailable
from isthmus.store.connections import Connections
from isthmus.store.transaction import LOST


class RequestHandlers:
    """Run, pause, resume and stop: what is done with table maps one after the other.

    `shipped` are the names of those that came with a solution.
    """

    def __init__(
        self,
        requests: Requests,
        states: MapStates,
        initial_sync: InitialSync,
        catch_up: CatchUp,
        activity: ActivityLog,
        pools: Mapping[Half, Connections],
        legs: CurrentLegs,
        shipped: Collection[str],
    ) -> None:
        self._requests = requests
        self._states = states
        self._initial_sync = initial_sync
        self._catch_up = catch_up
        self._activity = activity
        self._pools = pools
        self._legs = legs
        self._shipped = shipped

    def by_action(self) -> Mapping[str, Handler]:
        """The handlers as the runner takes them."""
        return {
            "run": self._in_turn(self._run),
            "pause": self._in_turn(self._pause),
            RESUME: self._in_turn(self._catch_up.resume),
            "stop": self._in_turn(self._stop),
            "reset": self._in_turn(self._reset),
            "init": _nothing,
            "restore_templates": _nothing,
        }

    def _in_turn(self, handler: Handler) -> Handler:
        async def handle(request: Request, progress: Progress) -> None:
            await self._await_turn(request, progress)
            await handler(request, progress)

        return handle

    async def _await_turn(self, request: Request, progress: Progress) -> None:
        """Retriable while an older request about one of the same table maps has not ended, RequestCancelled when this
        one is not to wait any longer."""
        for other in await self._requests.newest(states=("waiting", "running"), before=request.number, limit=1000):
            if other.action != DELIVER and not {*other.table_maps}.isdisjoint(request.table_maps):
                progress.check_cancelled()
                raise Retriable(f"Request {other.id} ({other.action}) comes first.", code="table_map_busy")

    async def _pause(self, request: Request, progress: Progress) -> None:
        progress.check_cancelled()
        parameters = msgspec.convert(request.parameters, PauseParameters)
        await self._states.pause(request.table_maps, by=request.requested_by, reason=parameters.reason)

    async def _stop(self, request: Request, progress: Progress) -> None:
        progress.check_cancelled()
        parameters = msgspec.convert(request.parameters, StopParameters)
        queued: Queued = "discard" if parameters.discard_queue else "refuse"
        await self._states.change(request.table_maps, "not_running", by=request.requested_by, queued=queued)

    async def _reset(self, request: Request, progress: Progress) -> None:
        """Versions that were made here stay saved; a table map that was made here keeps the one it has."""
        by = request.requested_by
        await self._states.change(request.table_maps, "not_running", by=by, reason="reset", queued="discard")
        for name, found in (await self._states.read(request.table_maps)).items():
            if found.version is not None and name in self._shipped:
                await self._states.choose(name, None, by=by)

    async def _run(self, request: Request, progress: Progress) -> None:
        """Initial sync, then live; table maps of which records were refused are left as they were before."""
        parameters = msgspec.convert(request.parameters, RunParameters)
        by = request.requested_by
        skipped = parameters.skipped(request.table_maps)
        states = await self._states.read(request.table_maps)
        # Those that run by now were brought live by this very request, before its process ended, or have errors left.
        live = {name for name, found in states.items() if found.state == "running"}
        again = {name for name in live if parameters.errors_only and name not in parameters.in_full}
        left_out = {*skipped, *live} - again
        copied = [name for name in request.table_maps if name not in left_out]
        await self._go_live(skipped, by)
        if not copied:
            return
        try:
            progress.check_cancelled()
            await self._states.change([name for name in copied if name not in live], "initializing", by=by)
            began = request.started_at or request.requested_at
            summary = await self._initial_sync.run(request.id, parameters.initial_sync(copied), began, progress)
        except (Retriable, Unavailable, *LOST):
            raise
        except Exception:
            await self._give_up(copied, by)
            raise
        await self._finish(request, copied, summary, live if not parameters.run_with_errors else {*copied})

    async def _go_live(self, names: Collection[str], by: str) -> None:
        """Queued changes that were refused for want of a row of these table maps are tried again: it may be there now.

        They are freed first, so that a process that dies in between leaves nothing behind.
        """
        needing = dependents(self._legs.now.catalog)
        referring = {other for name in names for other in needing.get(name, ())}
        for pool in self._pools.values():
            await free_referring_now(pool, referring)
        await self._states.change(names, "running", by=by)

    async def _give_up(self, names: Sequence[str], by: str) -> None:
        states = await self._states.read(names)
        initializing = [name for name in names if states[name].state == "initializing"]
        await self._states.change(initializing, "not_running", by=by)

    async def _finish(self, request: Request, names: Sequence[str], summary: Summary, run_anyway: Set[str]) -> None:
        refused = {name: summary.refused.get(name, 0) for name in names}
        kept = [name for name in names if refused[name] and name not in run_anyway]
        await self._go_live([name for name in names if name not in kept], request.requested_by)
        await self._give_up(kept, request.requested_by)
        await self._activity.record(*(_entry(request, name, summary, name in kept) for name in names))
        if kept:
            count = sum(refused[name] for name in kept)
            raise Rejected(
                f"{count} records were refused, so {len(kept)} of {len(names)} table maps do not run yet. See the "
                "refused records; correct them and run errors only, or run with errors.",
                code="initial_sync_refused",
                table_maps=kept,
            )


async def _nothing(request: Request, progress: Progress) -> None:
    """What such a request asks for stands already: table maps are ready to run, and shipped versions are never lost."""


def _entry(request: Request, name: str, summary: Summary, kept: bool) -> Entry:
    refused = summary.refused.get(name, 0)
    parts = [part for part in summary.parts if part.table_map == name]
    counts = {
        counted: sum(getattr(part, counted) for part in parts)
        for counted in ("inserted", "updated", "unchanged", "skipped")
    }
    message = f"Initial sync: {counts['inserted']} records inserted, {counts['updated']} updated, {refused} refused"
    return Entry(
        kind="initial_sync_error" if refused else "initial_sync",
        result="error" if refused else "done",
        code="initial_sync_refused" if refused else None,
        table_map=name,
        message=f"{message}{'; the table map does not run yet' if kept else ''}.",
        details={**counts, "refused": refused, "request": str(request.id)},
        principal=request.requested_by,
        correlation_id=f"initial-sync:{request.id}",
    )
