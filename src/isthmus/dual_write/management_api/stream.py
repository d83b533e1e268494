"""States and progress as they change (server-sent events)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec
from starlette.responses import StreamingResponse

from isthmus.dual_write.management_api.endpoint import Caller, endpoint
from isthmus.dual_write.management_api.feed import Feed, Observation
from isthmus.errors import Rejected


class ObservationStream(StreamingResponse):
    """An answer that goes on until the client leaves or the server ends."""

    media_type = "text/event-stream"


class Stream:
    """States of table maps and progress of long work, pushed as they change."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    @endpoint("GET", "/stream")
    async def watch(self, caller: Caller) -> ObservationStream:
        """Watch table maps and requests: first as they stand, then whatever changes.

        Server-sent events: `event` is `table_map` or `request`, `data` the same document that the list of them has,
        or `{"name": ..., "gone": true}`. Each is the newest state, never a difference: states in between may be left
        out. A client that comes back with `Last-Event-ID` is given what changed since, and maybe a little that it has
        already. A comment is sent every 15 seconds while nothing happens. The stream ends when the server does.
        """
        since = _instant(caller.last_observation)
        return ObservationStream(_lines(self._feed.watch(since, caller.draining)))


async def _lines(observed: AsyncGenerator[list[Observation], None]) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    async with aclosing(observed):
        async for observations in observed:
            if not observations:
                yield b": still here\n\n"
            for one in observations:
                yield _event(one)


def _event(one: Observation) -> bytes:
    shown = {"name": one.name, "gone": True} if one.document is None else one.document
    number = int(one.at.timestamp() * 1_000_000)
    return f"id: {number}\nevent: {one.kind}\ndata: ".encode() + msgspec.json.encode(shown) + b"\n\n"


def _instant(last_observation: str) -> datetime | None:
    """The instant that the id of a stream's event stands for: microseconds since 1970."""
    if not last_observation:
        return None
    try:
        return datetime.fromtimestamp(int(last_observation) / 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        raise Rejected(
            f"Last-Event-ID is '{last_observation}': send the id of an event of this stream, or leave it out.",
            code="query_parameter",
            field="Last-Event-ID",
        ) from None
