"""One catch-up on its way: which table maps, for whom, and how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from isthmus.apps.principal import Half
from isthmus.clock import monotonic
from isthmus.dual_write import backlog
from isthmus.dual_write.activity import Entry, Record
from isthmus.dual_write.backlog import CATCHING_UP, Queued
from isthmus.dual_write.conflicts import Conflict
from isthmus.dual_write.request_runner import Progress
from isthmus.dual_write.requests import Request
from isthmus.dual_write.shown_key import shown_key
from isthmus.errors import IsthmusError
from isthmus.store.connections import Connections

COUNT_INTERVAL = 1.0
"""Seconds between two counts of what still waits, which cost more than a batch's share."""


class CatchUpParameters(msgspec.Struct, frozen=True, kw_only=True):
    """When the table maps go live: `after` their queues are delivered; at once, and `keep` the queues to deliver them
    meanwhile; at once, and `discard` the queues. `master` is the half whose value stands where both changed one."""

    live: Literal["after", "keep", "discard"] = "after"
    master: Half = "finops"


class CatchUpTask:
    """A request to catch up, as it is carried out by one process.

    `delivered` and `refused` count changes by table map, those of processes before this one among them.
    """

    def __init__(self, request: Request, progress: Progress, pools: Mapping[Half, Connections]) -> None:
        self.table_maps = request.table_maps
        self.parameters = msgspec.convert(request.parameters, CatchUpParameters)
        self.by = request.requested_by
        self.correlation_id = f"{CATCHING_UP}{request.id}"
        self.progress = progress
        self._pools = pools
        self.delivered = dict.fromkeys(self.table_maps, 0) | {part.table_map: part.done for part in request.progress}
        self.refused = dict.fromkeys(self.table_maps, 0) | {part.table_map: part.refused for part in request.progress}
        self._waiting = dict.fromkeys(self.table_maps, 0)
        self._next_count = 0.0

    def note_delivered(self, changes: Iterable[Queued]) -> None:
        """Count changes that are committed."""
        for change in changes:
            self.delivered[change.table_map] += 1
            self._waiting[change.table_map] = max(self._waiting[change.table_map] - 1, 0)

    def note_refused(self, change: Queued) -> None:
        """Count a change that stays in the queue."""
        self.refused[change.table_map] += 1

    async def count(self) -> int:
        """Changes that wait for nothing, on both halves."""
        counts = [await backlog.deliverable(pool, self.table_maps) for pool in self._pools.values()]
        self._waiting = {name: sum(count.get(name, 0) for count in counts) for name in self.table_maps}
        self._next_count = monotonic() + COUNT_INTERVAL
        return sum(self._waiting.values())

    async def report(self) -> None:
        """Say how far it is; RequestCancelled when it is to stop."""
        self.progress.check_cancelled()
        if monotonic() >= self._next_count:
            await self.count()
        for name in self.table_maps:
            done = self.delivered[name]
            self.progress.report(name, done=done, total=done + self._waiting[name], refused=self.refused[name])


def refusal_entry(task: CatchUpTask, source: Half, change: Queued, error: IsthmusError) -> Entry:
    """What the activity log says of a change that stays in the queue."""
    record = change.record
    key = shown_key(record.key)
    return Entry(
        kind="catch_up_error",
        result="refused",
        table_map=change.table_map,
        origin=source,
        refused_by=error.details.get("half"),
        record_key=key,
        records=[Record(half=source, id=str(record.id), key=key, company=record.company)],
        operation=change.operation,
        field=error.details.get("field") or error.details.get("column"),
        code=error.code,
        message=error.message,
        partner_message=error.__cause__.message if isinstance(error.__cause__, IsthmusError) else None,
        details={"queued_change": change.id},
        principal=task.by,
        correlation_id=change.correlation_id,
    )


def conflict_entry(task: CatchUpTask, conflict: Conflict) -> Entry:
    """What the activity log says of a record that was changed on both halves."""
    what = f"Its {', '.join(conflict.columns)}" if conflict.columns else "It"
    key = shown_key(conflict.key)
    return Entry(
        kind="conflict",
        table_map=conflict.table_map,
        record_key=key,
        message=(
            f"Record {key} was changed on both halves while its changes waited. {what} stands as the "
            f"{conflict.winner} half, the master, has it."
        ),
        details={
            "columns": conflict.columns,
            "winner": conflict.winner,
            "finops": conflict.finops,
            "dataverse": conflict.dataverse,
        },
        principal=task.by,
        correlation_id=task.correlation_id,
    )


def result_entries(task: CatchUpTask) -> list[Entry]:
    """What the activity log says of a catch-up that has ended: one entry a table map."""
    return [
        Entry(
            kind="catch_up",
            table_map=name,
            message=f"{task.delivered[name]} queued changes were delivered, {task.refused[name]} refused.",
            details={"delivered": task.delivered[name], "refused": task.refused[name]},
            principal=task.by,
            correlation_id=task.correlation_id,
        )
        for name in task.table_maps
    ]
