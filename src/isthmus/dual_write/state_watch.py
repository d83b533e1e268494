"""Watching over the states of table maps: every second the halves are brought into line after one was away, table maps
that paused themselves are named for resuming, a new generation of them is compiled, and long queues raise an alarm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from isthmus.clock import monotonic
from isthmus.dual_write.activity import ActivityLog, Entry, Kind
from isthmus.dual_write.legs import CurrentLegs
from isthmus.dual_write.map_state import MapStates
from isthmus.dual_write.queue import Queue
from isthmus.dual_write.state_rows import StateChange, words
from isthmus.errors import IsthmusError, Retriable, Unavailable
from isthmus.observe import log
from isthmus.store.transaction import DRIVER_ERRORS

INTERVAL = 1.0
"""Seconds between two looks."""

ALARM_INTERVAL = 10.0
"""Seconds between two looks at the length of queues, which cost more."""

WATCH = "isthmus"
"""Who changed a state that nobody asked for."""

CheckSchemas = Callable[[], Awaitable[object]]
"""Takes table maps that the schemas no longer fit out of live sync."""

Resume = Callable[[list[str]], Awaitable[None]]
"""Brings table maps that paused themselves live again; told of the same ones every second until they are."""


class StateWatch:
    """The watch of one process. `alarm_rows` is the length of a table map's queue on one half that raises the alarm."""

    def __init__(
        self,
        states: MapStates,
        queue: Queue,
        legs: CurrentLegs,
        activity: ActivityLog,
        *,
        alarm_rows: int,
        check_schemas: CheckSchemas | None = None,
        resume: Resume | None = None,
    ) -> None:
        self._states = states
        self._queue = queue
        self._legs = legs
        self._activity = activity
        self._alarm_rows = alarm_rows
        self._check_schemas = check_schemas
        self._resume = resume
        self._next_alarm = 0.0

    async def run(self) -> None:
        """Watch until cancelled. A half that is away is waited for, a definition that can't be read is told of again
        and again; an error it does not know ends it."""
        while True:
            try:
                await self.look()
            except (*DRIVER_ERRORS, Unavailable, Retriable) as error:
                log.warning("table_map_states_wait", error=str(error))
            except IsthmusError as error:
                log.error("table_map_states_fail", code=error.code, error=error.message)
            await asyncio.sleep(INTERVAL)

    async def look(self) -> None:
        """One look at everything. Unavailable while a half is away."""
        await self._legs.refresh()
        resumable = await self._states.reconcile(by=WATCH)
        await self.check_schemas()
        if resumable and self._resume is not None:
            await self._resume(resumable)
        if monotonic() >= self._next_alarm:
            self._next_alarm = monotonic() + ALARM_INTERVAL
            await self._raise_alarms()

    async def check_schemas(self) -> None:
        """Once a process, as soon as both halves are there. Unavailable or Retriable until then."""
        if self._check_schemas is not None:
            await self._check_schemas()
            self._check_schemas = None

    async def _raise_alarms(self) -> None:
        for half, table_map in await self._queue.newly_long(self._alarm_rows):
            log.warning("queue_alarm", table_map=table_map, half=half, rows=self._alarm_rows)
            message = (
                f"More than {self._alarm_rows} changes of table map '{table_map}' wait in the queue of the {half} "
                "half. Resume it, or see what keeps it."
            )
            await self._activity.record(
                Entry(kind="queue_alarm", result="error", table_map=table_map, origin=half, code="queue_alarm",
                      message=message, principal=WATCH)
            )  # fmt: skip


def entry_of(change: StateChange) -> Entry:
    """What the activity log says of a change of state."""
    message = f"The table map went from {words(change.before)} to {words(change.after)}"
    if change.half is not None:
        message += f" on the {change.half} half, whose partner does not answer"
    if change.reason is not None:
        message += f" ({change.reason})"
    return Entry(
        kind=_kind(change), table_map=change.table_map, origin=change.half, message=f"{message}.", principal=change.by
    )


def _kind(change: StateChange) -> Kind:
    if change.after == "not_running":
        return "stopped"
    if change.after == "paused":
        return "paused"
    return "resumed" if change.before in ("paused", "resuming") else "run"
