"""What has changed, for everybody who watches: one reader a process, however many watch.

It compares what stands in the databases with what stood there a moment ago, so a change made by any process is seen.
What is passed on is the newest state of a thing, never a difference: who is slow, or was away, misses states in between
and never the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec

from isthmus.errors import IsthmusError
from isthmus.observe import log
from isthmus.store.transaction import DRIVER_ERRORS

READ_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0

OVERLAP = timedelta(seconds=60)
"""How far before the last thing that a watcher saw it is shown things again: clocks differ between databases, and what
was written earlier may become visible later."""


class Observation(msgspec.Struct, frozen=True):
    """A thing as it stands: `at` is when it changed last, `document` is None when it is gone."""

    kind: str
    name: str
    at: datetime
    document: Any


Read = Callable[[], Awaitable[list[Observation]]]


class Watcher:
    """What one watcher has not been given yet: the newest state of each thing."""

    def __init__(self) -> None:
        self.pending: dict[tuple[str, str], Observation] = {}
        self.something = asyncio.Event()

    def add(self, observation: Observation) -> None:
        self.pending[observation.kind, observation.name] = observation
        self.something.set()

    def take(self) -> list[Observation]:
        taken, self.pending = sorted(self.pending.values(), key=lambda one: one.at), {}
        self.something.clear()
        return taken


class Feed:
    """Reads while somebody watches, and not otherwise."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._known: dict[tuple[str, str], Observation] = {}
        self._watchers: set[Watcher] = set()
        self._reading: asyncio.Task[None] | None = None

    async def watch(self, since: datetime | None, ends: asyncio.Event) -> AsyncGenerator[list[Observation], None]:
        """Everything as it stands, or what changed after `since` when given; then what changes, until `ends`.

        An empty list is a sign of life while nothing happens.
        """
        watcher = Watcher()
        ending = asyncio.create_task(ends.wait())
        try:
            await self._begin(watcher)
            for observation in self._known.values():
                if since is None or observation.at > since - OVERLAP:
                    watcher.add(observation)
            while not ends.is_set():
                waiting = asyncio.create_task(watcher.something.wait())
                await asyncio.wait((waiting, ending), timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if not ends.is_set():
                    yield watcher.take()
        finally:
            ending.cancel()
            await self._end(watcher)

    async def _begin(self, watcher: Watcher) -> None:
        if self._reading is None:
            self._known = {}
            await self._compare()
            # Somebody else may have begun while we read.
            self._reading = self._reading or asyncio.create_task(self._keep_reading())
        self._watchers.add(watcher)

    async def _end(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)
        if not self._watchers and self._reading is not None:
            reading, self._reading = self._reading, None
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(READ_SECONDS)
            await self._compare()

    async def _compare(self) -> None:
        """Tell watchers what has changed; nothing while a database is away."""
        try:
            found = {(one.kind, one.name): one for one in await self._read()}
        except (IsthmusError, *DRIVER_ERRORS) as error:
            log.warning("feed_not_read", error=str(error))
            return
        gone = {
            key: msgspec.structs.replace(known, document=None) for key, known in self._known.items() if key not in found
        }
        changed = [one for key, one in found.items() if _document(self._known.get(key)) != one.document]
        self._known = found
        for observation in (*changed, *gone.values()):
            for watcher in self._watchers:
                watcher.add(observation)


def _document(known: Observation | None) -> Any:
    return None if known is None else known.document
