"""The activity log: list, group by cause, download, send refused saves again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from isthmus.dual_write.activity import ActivityFilter, ActivityLog, Entry, Group, Kind, Resend
from isthmus.dual_write.activity_csv import activity_csv
from isthmus.dual_write.management_api.csv import Csv
from isthmus.dual_write.management_api.endpoint import Caller, endpoint
from isthmus.dual_write.management_api.paging import Limit, Page, page_of

Moment = Annotated[datetime, msgspec.Meta(tz=True, description="A time with its zone.")]


class ActivityQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries: all conditions given hold. `since` is included, `until` is not; `key` is a record's key as it is
    shown; `open` leaves out errors that somebody has settled."""

    table_map: str | None = None
    kind: list[Kind] = []
    code: str | None = None
    key: str | None = None
    correlation_id: str | None = None
    cause: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    about: int | None = None
    open: bool = False
    after: int | None = None
    limit: Limit = 100

    def filter(self) -> ActivityFilter:
        """The conditions as the log takes them."""
        return ActivityFilter(
            table_map=self.table_map,
            kinds=tuple(self.kind),
            code=self.code,
            key=self.key,
            correlation_id=self.correlation_id,
            cause=self.cause,
            since=self.since,
            until=self.until,
            about=self.about,
            open_only=self.open,
        )


class ShownEntry(Entry, kw_only=True):
    """An entry with the name of who did it: null for what Isthmus did itself, and while the Dataverse half is away."""

    who: str | None = None


Names = Callable[[Collection[str]], Awaitable[Mapping[str, str]]]
"""The names of those of these principals that are known."""


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ids of entries that tell of refused saves."""

    entries: list[int]


class ActivityCalls:
    """Who did what to a table map, with which result, and every error with its record and cause."""

    def __init__(self, activity: ActivityLog, resend: Resend, names: Names) -> None:
        self._activity = activity
        self._resend = resend
        self._names = names

    @endpoint("GET", "/activity")
    async def list_activity(self, query: ActivityQuery) -> Page[ShownEntry]:
        """List entries of the activity log, newest first."""
        found = await self._activity.entries(query.filter(), before=query.after, limit=query.limit + 1)
        return page_of(await self._shown(found), query.limit, lambda entry: str(entry.id))

    @endpoint("GET", "/activity/groups")
    async def group_activity(self, query: ActivityQuery) -> list[Group]:
        """Group entries by cause, the most frequent first; of errors only, unless kinds are named."""
        return await self._activity.groups(query.filter(), limit=query.limit)

    @endpoint("GET", "/activity.csv")
    async def download_activity(self, query: ActivityQuery) -> Csv:
        """Download entries as CSV, newest first: all that fit the conditions."""
        return Csv("activity", activity_csv(self._activity, query.filter()))

    @endpoint("GET", "/activity/{entry_id}")
    async def show_activity(self, entry_id: int) -> ShownEntry:
        """Show one entry."""
        (shown,) = await self._shown([await self._activity.entry(entry_id)])
        return shown

    @endpoint("POST", "/activity/retry")
    async def retry_activity(self, body: Retry, caller: Caller) -> list[Entry]:
        """Send the records of refused saves again, as they stand now; an entry per save tells how that went."""
        return await self._activity.retry(body.entries, caller.principal.object_id, self._resend)

    async def _shown(self, entries: Sequence[Entry]) -> list[ShownEntry]:
        names = await self._names({entry.principal for entry in entries})
        return [ShownEntry(**msgspec.structs.asdict(entry), who=names.get(entry.principal)) for entry in entries]
