"""Requests: long work on table maps, written down in the control database before it begins, so that it outlives
processes. Any server process may carry one out; `request_runner` is who does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec

from isthmus.errors import NotFound, Rejected
from isthmus.store.pool import fetch

RequestState = Literal["waiting", "running", "completed", "error", "cancelled"]

WAKE_UP = "isthmus_table_map_request"
"""Channel that is notified when a request is submitted, cancelled or has ended; the payload is its id."""

_SUBMIT = """
with submitted as (
    insert into isthmus.table_map_request (action, table_maps, parameters, requested_by)
    values ($1, $2, $3::text::jsonb, $4) returning id
)
select id, pg_notify($5, id::text) from submitted
"""
_SUBMIT_IF_FREE = """
with submitted as (select isthmus.submit_if_free($1, $2, $3::text::jsonb, $4) as id)
select id, pg_notify($5, id::text) from submitted where id is not null
"""
_CANCEL = """
with cancelled as (
    update isthmus.table_map_request
    set cancel_asked = true,
        ended_at = case when state = 'waiting' then clock_timestamp() end,
        state = case when state = 'waiting' then 'cancelled' else state end
    where id = $1 and state in ('waiting', 'running') returning id
)
select pg_notify($2, id::text) from cancelled
"""
_GET = "select to_json(r)::text from isthmus.table_map_request r where id = $1"
_LIST = """
select to_json(r)::text from isthmus.table_map_request r
where ($1::text is null or $1 = any(table_maps)) and ($2::text[] is null or state = any($2))
  and ($3::bigint is null or number < $3)
order by number desc limit $4
"""
_LAST = """
select distinct on (m.name) to_json(r)::text, m.name as table_map
from isthmus.table_map_request r cross join unnest(r.table_maps) m(name)
where $1::text[] is null or m.name = any($1) order by m.name, r.number desc
"""


class Part(msgspec.Struct, kw_only=True):
    """Progress of one part of a request: one table map, perhaps one leg (by its source half) and one company.

    `done` and `refused` count records, of `total` when that is known; `rate` is in records per second since the process
    that reports began with the part, `seconds_left` follows from both.
    """

    table_map: str
    leg: str | None = None
    company: str | None = None
    done: int = 0
    refused: int = 0
    total: int | None = None
    rate: float = 0.0
    seconds_left: float | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it stands.

    `number` orders requests by when they were submitted. `code` and `message` say why it ended in error, or, while it
    is running, what it waits for.
    """

    id: UUID
    number: int
    action: str
    table_maps: tuple[str, ...]
    parameters: dict[str, Any]
    state: RequestState
    cancel_asked: bool
    progress: tuple[Part, ...]
    code: str | None
    message: str | None
    requested_by: str
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def is_open(self) -> bool:
        return self.state in ("waiting", "running")


_REQUEST = msgspec.json.Decoder(Request)


class Requests:
    """All requests of an environment, in its control database. Methods raise Unavailable when it does not answer."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def submit(self, action: str, table_maps: Sequence[str], parameters: Mapping[str, Any], by: str) -> UUID:
        """Write a request down and wake the runners; its id. `by` is the object id of the principal who asks."""
        rows = await fetch(self._pool, _SUBMIT, action, list(table_maps), _text(parameters), by, WAKE_UP)
        found: UUID = rows[0]["id"]
        return found

    async def submit_if_free(
        self, action: str, table_maps: Sequence[str], parameters: Mapping[str, Any], by: str
    ) -> UUID | None:
        """The same for those of the table maps that no open request is about; None when there is none of them."""
        rows = await fetch(self._pool, _SUBMIT_IF_FREE, action, list(table_maps), _text(parameters), by, WAKE_UP)
        return rows[0]["id"] if rows else None

    async def get(self, id_: UUID) -> Request:
        """One request. NotFound (`request_not_found`)."""
        rows = await fetch(self._pool, _GET, id_)
        if not rows:
            raise NotFound(f"There is no request {id_}.", code="request_not_found")
        return request_of(rows[0])

    async def newest(
        self,
        *,
        table_map: str | None = None,
        states: Sequence[RequestState] | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Request]:
        """Requests, newest first: of one table map, in some states, older than number `before`."""
        wanted = None if states is None else list(states)
        return [request_of(row) for row in await fetch(self._pool, _LIST, table_map, wanted, before, limit)]

    async def last_of_each(self, table_maps: Sequence[str] | None = None) -> dict[str, Request]:
        """What was last asked of these table maps, or of all; those that nothing was ever asked of are left out."""
        wanted = None if table_maps is None else [*table_maps]
        return {row["table_map"]: request_of(row) for row in await fetch(self._pool, _LAST, wanted)}

    async def cancel(self, id_: UUID) -> None:
        """End a waiting request, or ask the process that carries it out to stop at the next safe point.

        NotFound when there is none, Rejected (`request_ended`) when it has ended.
        """
        if not await fetch(self._pool, _CANCEL, id_, WAKE_UP):
            request = await self.get(id_)
            raise Rejected(f"Request {id_} can't be cancelled: it has ended ({request.state}).", code="request_ended")


def request_of(row: asyncpg.Record) -> Request:
    """A row of the table, given as JSON in its first column."""
    return _REQUEST.decode(row[0])


def _text(parameters: Mapping[str, Any]) -> str:
    return msgspec.json.encode(dict(parameters)).decode()
