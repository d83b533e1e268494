"""The activity log: who did what to a table map, with which result, and everything that went wrong with its records.

An entry is never changed. What becomes of an error - it was retried, its record was repaired - is another entry that is
`about` it. Entries stay for good unless a retention is set, and then the purge is an entry too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import asyncpg
import msgspec

from isthmus.apps.context import Context
from isthmus.apps.principal import Half
from isthmus.clock import now
from isthmus.dual_write.activity_causes import cause_of
from isthmus.dual_write.open_errors import GONE, OpenErrors, nobody_knows
from isthmus.dual_write.shown_key import shown_key
from isthmus.errors import IsthmusError, NotFound, Rejected, Unavailable
from isthmus.observe import log
from isthmus.store.transaction import DRIVER_ERRORS

ErrorKind = Literal[
    "live_sync_error", "initial_sync_error", "catch_up_error", "queue_alarm", "half_away", "schema_changed"
]
"""Kinds of entries that tell of something wrong; the error types of alert rules."""

Kind = Literal[
    ErrorKind,
    "table_map_created",
    "table_map_deleted",
    "mapping_changed",
    "version_chosen",
    "run",
    "paused",
    "resumed",
    "stopped",
    "initial_sync",
    "catch_up",
    "conflict",
    "queue_dismissed",
    "repaired",
    "retried",
    "alert_rule_changed",
    "alert_fired",
    "activity_purged",
]

ERROR_KINDS: tuple[str, ...] = get_args(ErrorKind)

Result = Literal["done", "refused", "cancelled", "error"]

MOST_ENTRIES = 1000
"""Entries of one page, at most."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record that an entry is about: its id on this half, the integration key as people read it, and its company."""

    half: Half
    id: str
    key: str | None = None
    company: str | None = None


class Entry(msgspec.Struct, kw_only=True):
    """One line of the log; `id` and `at` are given when it is recorded.

    `origin` is the half where the change began and `refused_by` the one that refused it; `message` is what the caller
    was told there, `partner_message` what the partner half said itself. `principal` is who did it. `details` are what
    else there is to know: counts of a run, both images of a conflict. `cause` is the message without its values, for
    grouping. `about` is the entry that this one follows up.
    """

    id: int = 0
    at: datetime | None = None
    kind: Kind
    result: Result = "done"
    table_map: str | None = None
    origin: str | None = None
    refused_by: str | None = None
    record_key: str | None = None
    records: list[Record] = []
    operation: str | None = None
    field: str | None = None
    code: str | None = None
    message: str
    partner_message: str | None = None
    cause: str | None = None
    details: dict[str, Any] = {}
    principal: str = ""
    correlation_id: str = ""
    about: int | None = None


class ActivityFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries: all conditions that are given hold. `since` is included, `until` is not.

    `first` and `last` are ids, both included; `key` is a record's integration key as shown, in any letter case;
    `open_only` leaves out errors that are settled: by a later entry, or because what was refused is gone.
    """

    table_map: str | None = None
    kinds: tuple[str, ...] = ()
    code: str | None = None
    key: str | None = None
    correlation_id: str | None = None
    cause: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    first: int | None = None
    last: int | None = None
    about: int | None = None
    open_only: bool = False


EVERYTHING = ActivityFilter()


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of one cause: how many, how many of them nobody has settled, when, and the newest of them."""

    code: str | None
    field: str | None
    cause: str
    count: int
    open: int
    first_at: datetime
    last_at: datetime
    table_maps: list[str]
    newest: int
    message: str


Resend = Callable[[str, Record], Awaitable[Any]]
"""Sends a record of a table map from its half as it stands now. Raises the error of a refusal."""

_COLUMNS = {
    "kind": "text",
    "result": "text",
    "table_map": "text",
    "origin": "text",
    "refused_by": "text",
    "record_key": "text",
    "records": "jsonb",
    "operation": "text",
    "field": "text",
    "code": "text",
    "message": "text",
    "partner_message": "text",
    "cause": "text",
    "details": "jsonb",
    "principal": "text",
    "correlation_id": "text",
    "about": "bigint",
}
_NAMES = ", ".join(_COLUMNS)
_TYPES = ", ".join(f"{name} {type_}" for name, type_ in _COLUMNS.items())
_RECORD = (
    f"insert into isthmus.activity ({_NAMES}) select {_NAMES} "  # noqa: S608  (constants)
    f"from json_to_recordset($1::json) as given({_TYPES}) returning id"
)
_FOLLOWED_UP = "exists (select from isthmus.activity f where f.about = a.id and f.result = 'done')"
_SETTLED = f"({_FOLLOWED_UP} or {GONE})"
_LIST = "select to_json(a)::text from isthmus.activity a{where} order by a.id desc limit {limit}"
_GROUPS = """
select coalesce(json_agg(g order by g.count desc, g.newest desc), '[]')::text from (
    select a.code, a.field, coalesce(a.cause, a.message) as cause, count(*) as count,
        count(*) filter (where not {settled}) as open, min(a.at) as first_at, max(a.at) as last_at,
        coalesce(array_agg(distinct a.table_map) filter (where a.table_map is not null), '{{}}') as table_maps,
        max(a.id) as newest, (array_agg(a.message order by a.id desc))[1] as message
    from isthmus.activity a{where} group by 1, 2, 3 order by count(*) desc, max(a.id) desc limit {limit}
) g
"""
_COUNTS = "select a.table_map, count(*) as entries from isthmus.activity a{where} group by 1"
_PURGE = """
with gone as (delete from isthmus.activity where at < $1 and kind <> 'activity_purged' returning id)
select count(*) from gone
"""


class ActivityLog:
    """Kept in the control database, apart from both halves: a refused save leaves no other trace.

    `noticed` is called after each entry that tells of an error, in the process that recorded it. `open_errors` tells
    which refused changes and records still stand; without it all do.
    """

    def __init__(self, pool: asyncpg.Pool, open_errors: OpenErrors = nobody_knows) -> None:
        self.pool = pool
        self._open_errors = open_errors
        self.noticed: Callable[[], None] = lambda: None

    async def record(self, *entries: Entry) -> list[int]:
        """Add entries, in one statement; their ids. What was done stands even if it can't be recorded: then only the
        log of the process has it, and there are no ids."""
        if not entries:
            return []
        for entry in entries:
            if entry.cause is None and (entry.kind in ERROR_KINDS or entry.result != "done"):
                entry.cause = cause_of(entry.message, _known_names(entry), _known_values(entry))
        text = msgspec.json.encode(entries).decode()
        try:
            ids = [record["id"] for record in await self.pool.fetch(_RECORD, text)]
        except DRIVER_ERRORS as failure:
            for entry in entries:
                log.error("activity_not_recorded", error=str(failure), kind=entry.kind, message=entry.message)
            return []
        if any(entry.kind in ERROR_KINDS for entry in entries):
            self.noticed()
        return ids

    async def refused(self, context: Context, error: IsthmusError) -> None:
        """Record a save that live sync refused. Losing the entry never hides the refusal from the caller."""
        details = error.details
        cause = error.__cause__
        await self.record(
            Entry(
                kind="half_away" if isinstance(error, Unavailable) else "live_sync_error",
                result="refused",
                table_map=details.get("table_map"),
                origin=context.half,
                refused_by=details.get("half"),
                record_key=details.get("key"),
                records=[msgspec.convert(record, Record) for record in details.get("records", ())],
                operation=context.changes[0].operation.value if context.changes else None,
                field=details.get("field") or details.get("column"),
                code=error.code,
                message=error.message,
                partner_message=cause.message if isinstance(cause, IsthmusError) else None,
                details={name: str(value) for name, value in details.items() if name not in _NOT_DETAILS},
                principal=context.principal.object_id,
                correlation_id=context.correlation_id,
            )
        )

    async def entries(
        self, which: ActivityFilter = EVERYTHING, *, before: int | None = None, limit: int = 100
    ) -> list[Entry]:
        """Entries, newest first; the next page are those `before` the last id of this one."""
        where, arguments = await self._conditions(which, before)
        sql = _LIST.format(where=where, limit=_bounded(limit))
        return [msgspec.json.decode(row[0], type=Entry) for row in await self.pool.fetch(sql, *arguments)]

    async def entry(self, id_: int) -> Entry:
        """One entry. NotFound when there is none of this id."""
        text = await self.pool.fetchval("select to_json(a)::text from isthmus.activity a where id = $1", id_)
        if text is None:
            raise NotFound(f"The activity log has no entry {id_}.", code="activity_not_found", id=id_)
        return msgspec.json.decode(text, type=Entry)

    async def groups(self, which: ActivityFilter = EVERYTHING, *, limit: int = 100) -> list[Group]:
        """Entries by cause, the most frequent cause first; of errors only, unless `which` names kinds."""
        if not which.kinds:
            which = msgspec.structs.replace(which, kinds=ERROR_KINDS)
        where, arguments = await self._conditions(which)
        settled = _SETTLED.format(len(arguments) + 1)
        arguments.append(await self._open_errors())
        sql = _GROUPS.format(where=where, limit=_bounded(limit), settled=settled)
        return msgspec.json.decode(await self.pool.fetchval(sql, *arguments), type=list[Group])

    async def counts(self, which: ActivityFilter) -> dict[str, int]:
        """How many entries there are of each table map; maps without any are left out."""
        where, arguments = await self._conditions(which)
        rows = await self.pool.fetch(_COUNTS.format(where=where), *arguments)
        return {row["table_map"]: row["entries"] for row in rows if row["table_map"] is not None}

    async def retry(self, ids: Sequence[int], by: str, resend: Resend) -> list[Entry]:
        """Send the records of refused saves again, as they stand now; one entry per save tells how that went.

        The refused save itself is gone: it was kept on neither half. Rejected (`not_retriable`) when an entry is no
        refused save or does not know its records; nothing is sent then.
        """
        refused = [await self.entry(id_) for id_ in ids]
        for entry in refused:
            if entry.kind not in ("live_sync_error", "half_away") or entry.table_map is None:
                raise _not_retriable(entry, "is no refused save of a table map")
            if not entry.records:
                raise _not_retriable(entry, "does not know the records of the save")
        outcomes = [await self._resend(entry, by, resend) for entry in refused]
        await self.record(*outcomes)
        return outcomes

    async def _resend(self, refused: Entry, by: str, resend: Resend) -> Entry:
        outcome = Entry(
            kind="retried",
            table_map=refused.table_map,
            origin=refused.origin,
            record_key=refused.record_key,
            records=refused.records,
            message=f"{len(refused.records)} record(s) of a refused save were sent as they stand now.",
            principal=by,
            correlation_id=refused.correlation_id,
            about=refused.id,
        )
        try:
            for record in refused.records:
                await resend(refused.table_map or "", record)
        except IsthmusError as error:
            outcome.result, outcome.code, outcome.message = "refused", error.code, error.message
        return outcome

    async def _conditions(self, which: ActivityFilter, before: int | None = None) -> tuple[str, list[Any]]:
        """The WHERE clause of what was asked for, and its arguments."""
        parts, arguments = _conditions(which, before)
        if which.open_only:
            arguments.append(await self._open_errors())
            parts.append(f"not {_SETTLED.format(len(arguments))}")
        return f" where {' and '.join(parts)}" if parts else "", arguments

    async def purge(self, days: int) -> int:
        """Remove entries older than this many days, and say so in an entry; how many they were."""
        before = now() - timedelta(days=days)
        removed: int = await self.pool.fetchval(_PURGE, before)
        if removed:
            message = f"{removed} entries older than {days} days were removed, as the retention asks for."
            await self.record(Entry(kind="activity_purged", message=message, details={"removed": removed}))
        return removed


_NOT_DETAILS = frozenset({"table_map", "half", "key", "records", "field"})


def _bounded(limit: int) -> int:
    return max(1, min(int(limit), MOST_ENTRIES))


def _conditions(which: ActivityFilter, before: int | None) -> tuple[list[str], list[Any]]:
    """The conditions that an entry itself shows, and their arguments."""
    asked: list[tuple[str, Any]] = [
        ("a.table_map = ${}", which.table_map),
        ("a.kind = any(${}::text[])", list(which.kinds) or None),
        ("a.code = ${}", which.code),
        ("a.records @> jsonb_build_array(jsonb_build_object('key', lower(${}::text)))", shown_key(which.key)),
        ("a.correlation_id = ${}", which.correlation_id),
        ("a.cause = ${}", which.cause),
        ("a.at >= ${}", which.since),
        ("a.at < ${}", which.until),
        ("a.id >= ${}", which.first),
        ("a.id <= ${}", which.last),
        ("a.about = ${}", which.about),
        ("a.id < ${}", before),
    ]
    given = [(condition, value) for condition, value in asked if value is not None]
    parts = [condition.format(number) for number, (condition, _) in enumerate(given, 1)]
    return parts, [value for _, value in given]


def _known_names(entry: Entry) -> Collection[str]:
    """Quoted words of a message that are names of definitions, which a cause keeps."""
    named = ("table", "entity", "column", "relationship", "enum", "parameter")
    found = (entry.table_map, entry.field, *(entry.details.get(name) for name in named))
    return {str(name) for name in found if name}


def _known_values(entry: Entry) -> Collection[str]:
    """What a message says of this one record only."""
    keys = [entry.record_key, *(record.key for record in entry.records)]
    values = [*keys, *(record.id for record in entry.records), entry.details.get("value"), entry.details.get("key")]
    return {str(value) for value in values if value}


def _not_retriable(entry: Entry, why: str) -> Rejected:
    return Rejected(
        f"Entry {entry.id} of the activity log {why}, so there is nothing to send again. Do the save again, or compare "
        "the table map and repair what differs.",
        code="not_retriable",
        id=entry.id,
    )
