"""The runner of requests: one per server process. It carries out requests that nobody owns and continues those whose
owner is gone.

Who owns a request holds a session-level advisory lock on its number, on one connection that does nothing else. The lock
goes with the process, however it ends, and another runner continues the request where the databases say it stood. A
runner whose connection is lost stops its handlers at once. The lock saves work, it does not protect data: a handler
keeps all it has done in the transactions that did it, so a second owner for a moment does nothing twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from isthmus.dual_write.requests import WAKE_UP, Part, Request, request_of
from isthmus.errors import Bug, IsthmusError, Retriable, Unavailable
from isthmus.observe import log
from isthmus.store.transaction import DRIVER_ERRORS, LOST

POLL = 1.0
"""Seconds between two looks at the table when no notification came."""

FLUSH = 0.5
"""Seconds between two writes of a request's progress."""

LONGEST_PAUSE = 15.0
"""Seconds at most before a request that found a half away, or lost a race, is tried again."""

_LOCK_CLASS = 1_229_868_877
"""First key of the advisory locks on requests; the second is the request's number."""

_OPEN = """
select id, number, cancel_asked from isthmus.table_map_request where state in ('waiting', 'running') order by number
"""
_LOCK = "select pg_try_advisory_lock($1, $2)"
_UNLOCK = "select pg_advisory_unlock($1, $2)"
_TAKE = """
update isthmus.table_map_request r set state = 'running', started_at = coalesce(started_at, clock_timestamp())
where id = $1 and state in ('waiting', 'running') returning to_json(r)::text
"""
_PROGRESS = "update isthmus.table_map_request set progress = $2::text::jsonb where id = $1 and state = 'running'"
_WAITS_FOR = "update isthmus.table_map_request set code = $2, message = $3 where id = $1 and state = 'running'"
_END = """
with ended as (
    update isthmus.table_map_request
    set state = $2, code = $3, message = $4, progress = $5::text::jsonb, ended_at = clock_timestamp()
    where id = $1 and state = 'running' returning id
)
select pg_notify($6, id::text) from ended
"""


class RequestCancelled(Exception):
    """Raised inside a handler at a safe point after its request was cancelled."""


class Progress:
    """What a handler says of its work, and how it learns that its request is cancelled.

    `nudge` is set when a request was submitted, cancelled or has ended: whoever waits for another one looks again.
    """

    def __init__(self, parts: tuple[Part, ...] = ()) -> None:
        self.cancelled = False
        self.changed = False
        self.nudge = asyncio.Event()
        self._parts = {(part.table_map, part.leg, part.company): part for part in parts}
        self._began: dict[tuple[str, str | None, str | None], tuple[float, int]] = {}

    def check_cancelled(self) -> None:
        """At a safe point. RequestCancelled when somebody asked for it."""
        if self.cancelled:
            raise RequestCancelled

    def report(
        self,
        table_map: str,
        *,
        leg: str | None = None,
        company: str | None = None,
        done: int,
        total: int | None = None,
        refused: int = 0,
    ) -> None:
        """Set how far one part is. Costs nothing: it is written twice a second at most."""
        name = (table_map, leg, company)
        began, had = self._began.setdefault(name, (time.monotonic(), done))
        elapsed = time.monotonic() - began
        rate = round((done - had) / elapsed, 1) if elapsed > 0 else 0.0
        left = None if total is None or rate <= 0 else round(max(total - done, 0) / rate, 1)
        part = Part(
            table_map=table_map, leg=leg, company=company, done=done, refused=refused, total=total, rate=rate,
            seconds_left=left,
        )  # fmt: skip
        self._parts[name] = part
        self.changed = True

    def text(self) -> str:
        """All parts, as JSON."""
        return msgspec.json.encode(list(self._parts.values())).decode()


Handler = Callable[[Request, Progress], Awaitable[None]]
"""Carries a request out, or continues it: it may have been begun before. What it raises ends the request in error, but
for Retriable and Unavailable: then it is called again after a pause, for as long as it takes. It is called for a
cancelled request too, to put right what it has left half done: it asks `Progress.check_cancelled` itself."""


class _Owned(msgspec.Struct):
    """A request that this runner carries out."""

    number: int
    progress: Progress
    task: asyncio.Task[None]


class RequestRunner:
    """Carries requests out by handlers, found by the request's action."""

    def __init__(self, pool: asyncpg.Pool, handlers: Mapping[str, Handler]) -> None:
        self._pool = pool
        self._handlers = handlers
        self._owned: dict[UUID, _Owned] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled. A control database that is away is waited for; anything unknown is logged, and the
        loop goes on."""
        while True:
            try:
                async with self._pool.acquire() as connection:
                    await self._serve(connection)
            except DRIVER_ERRORS as error:
                log.warning("request_runner_control_away", error=str(error))
            except Exception:
                log.exception("request_runner_failed")
            await asyncio.sleep(POLL)

    async def _serve(self, connection: Any) -> None:
        """Hold requests on this connection until it breaks."""

        def wake(*_: object) -> None:
            self._wake.set()

        await connection.add_listener(WAKE_UP, wake)
        connection.add_termination_listener(wake)
        try:
            while not connection.is_closed():
                woken = self._wake.is_set()
                self._wake.clear()
                await self._look(connection)
                for owned in self._owned.values() if woken else ():
                    owned.progress.nudge.set()
                await self._flush()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), FLUSH if self._owned else POLL)
        finally:
            await self._stop()
            with suppress(*DRIVER_ERRORS):
                connection.remove_termination_listener(wake)
                await connection.remove_listener(WAKE_UP, wake)
                await connection.execute("select pg_advisory_unlock_all()")

    async def _look(self, connection: Any) -> None:
        """Let go of what has ended, pass cancellations on, take what nobody owns."""
        for id_, owned in list(self._owned.items()):
            if owned.task.done():
                del self._owned[id_]
                await connection.execute(_UNLOCK, _LOCK_CLASS, owned.number)
        for row in await connection.fetch(_OPEN):
            id_ = row["id"]
            if id_ in self._owned:
                self._owned[id_].progress.cancelled = row["cancel_asked"]
            elif await connection.fetchval(_LOCK, _LOCK_CLASS, row["number"]):
                await self._take(connection, id_, row["number"])

    async def _take(self, connection: Any, id_: UUID, number: int) -> None:
        taken = await connection.fetchrow(_TAKE, id_)
        if taken is None:
            await connection.execute(_UNLOCK, _LOCK_CLASS, number)
            return
        request = request_of(taken)
        progress = Progress(request.progress)
        progress.cancelled = request.cancel_asked
        task = asyncio.create_task(self._carry_out(request, progress))
        task.add_done_callback(lambda _: self._wake.set())
        self._owned[id_] = _Owned(number, progress, task)

    async def _flush(self) -> None:
        for id_, owned in self._owned.items():
            if owned.progress.changed and not owned.task.done():
                owned.progress.changed = False
                await self._pool.execute(_PROGRESS, id_, owned.progress.text())

    async def _stop(self) -> None:
        """Stop all handlers where they stand; others, or this runner on its next connection, continue."""
        tasks = [owned.task for owned in self._owned.values()]
        self._owned = {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, request: Request, progress: Progress) -> None:
        """Run the handler until it ends one way or the other, and record which."""
        handler = self._handlers.get(request.action, _unknown_action)
        pause = 0.1
        log.info("request_taken", request=str(request.id), action=request.action, table_maps=request.table_maps)
        while True:
            progress.nudge.clear()
            try:
                await handler(request, progress)
            except RequestCancelled:
                return await self._end(request, progress, "cancelled")
            except (Retriable, Unavailable, *LOST, asyncpg.TooManyConnectionsError) as error:
                await self._note(request, error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(progress.nudge.wait(), pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            except IsthmusError as error:
                return await self._end(request, progress, "error", error.code, error.message)
            except Exception as error:
                log.exception("request_failed", request=str(request.id), action=request.action)
                message = f"A fault of our own stopped the request: {error!r}. Report it; the log has the details."
                return await self._end(request, progress, "error", Bug.default_code, message)
            else:
                return await self._end(request, progress, "completed")

    async def _note(self, request: Request, error: Exception) -> None:
        """Let the request show what it waits for."""
        code, message = (error.code, error.message) if isinstance(error, IsthmusError) else ("unavailable", str(error))
        log.warning("request_waits", request=str(request.id), code=code, error=message)
        with suppress(*DRIVER_ERRORS):
            await self._pool.execute(_WAITS_FOR, request.id, code, message)

    async def _end(
        self, request: Request, progress: Progress, state: str, code: str | None = None, message: str | None = None
    ) -> None:
        """Record the end; a control database that is away is waited for."""
        while True:
            try:
                await self._pool.fetch(_END, request.id, state, code, message, progress.text(), WAKE_UP)
            except DRIVER_ERRORS as error:
                log.warning("request_end_not_recorded", request=str(request.id), error=str(error))
                await asyncio.sleep(POLL)
                continue
            log.info("request_ended", request=str(request.id), state=state, code=code)
            return


async def _unknown_action(request: Request, progress: Progress) -> None:
    raise Bug(f"No handler is registered for the action '{request.action}'.")
