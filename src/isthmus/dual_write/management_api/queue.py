"""Changes of paused table maps that wait, were refused, or were dismissed."""

from __future__ import annotations

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.activity import ActivityLog, Entry
from isthmus.dual_write.dependencies import check_known
from isthmus.dual_write.management_api.endpoint import Caller, endpoint
from isthmus.dual_write.management_api.paging import Limit, Page, page_of
from isthmus.dual_write.operations import CurrentLegs
from isthmus.dual_write.queue import Queue, QueuedChange, Status


class QueueQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Changes made on one half, by status and by the record's key with commas between its parts.

    `after` is what a page gave as `next`.
    """

    half: Half
    status: tuple[Status, ...] = ("waiting", "failed")
    key: str | None = None
    after: int = 0
    limit: Limit = 100


class RetryChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Refused changes made on one half; without ids all of them."""

    half: Half
    ids: list[int] | None = None


class DismissChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes made on one half that are given up, and why."""

    half: Half
    ids: list[int]
    reason: str


class Affected(msgspec.Struct, frozen=True, kw_only=True):
    """How many there were."""

    count: int


class QueueCalls:
    """The queues of paused table maps: what waits, what was refused on catch-up, and what was dismissed."""

    def __init__(self, current: CurrentLegs, queue: Queue, activity: ActivityLog) -> None:
        self._current = current
        self._queue = queue
        self._activity = activity

    @endpoint("GET", "/table-maps/{name}/queue")
    async def list_queue(self, name: str, query: QueueQuery) -> Page[QueuedChange]:
        """List changes of one half in the order they were made."""
        await self._check_known(name)
        found = await self._queue.list(
            query.half, name, statuses=query.status, key=query.key, after=query.after, limit=query.limit + 1
        )
        return page_of(found, query.limit, lambda change: str(change.id))

    @endpoint("POST", "/table-maps/{name}/queue/retry")
    async def retry_queue(self, name: str, body: RetryChanges) -> Affected:
        """Let refused changes be tried again: at once while the table map is running, else when it is resumed."""
        await self._check_known(name)
        return Affected(count=await self._queue.retry(body.half, name, body.ids))

    @endpoint("POST", "/table-maps/{name}/queue/dismiss")
    async def dismiss_queue(self, name: str, body: DismissChanges, caller: Caller) -> Affected:
        """Give changes up; they stay listed as dismissed, with who did it and why."""
        await self._check_known(name)
        by = caller.principal.object_id
        count = await self._queue.dismiss(body.half, name, body.ids, by=by, reason=body.reason)
        await self._activity.record(
            Entry(
                kind="queue_dismissed",
                table_map=name,
                origin=body.half,
                message=f"{count} queued changes were dismissed: {body.reason}",
                details={"ids": body.ids},
                principal=by,
                correlation_id=caller.correlation_id,
            )
        )
        return Affected(count=count)

    async def _check_known(self, name: str) -> None:
        check_known([name], (await self._current()).catalog)
