"""Watching over queues: what may be delivered is, without anybody asking for it.

Table maps that paused themselves are resumed when both halves are there again. Changes that wait in the queue of a
running table map - one was retried or dismissed, and let those behind it go - are delivered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from isthmus.apps.principal import Half
from isthmus.dual_write import backlog
from isthmus.dual_write.dependencies import enable_order
from isthmus.dual_write.legs import CurrentLegs
from isthmus.dual_write.requests import Requests
from isthmus.dual_write.state_watch import WATCH
from isthmus.errors import Unavailable
from isthmus.observe import log
from isthmus.store.connections import Connections
from isthmus.store.transaction import DRIVER_ERRORS

RESUME = "resume"
DELIVER = "deliver_queue"

INTERVAL = 1.0
"""Seconds between two looks."""


class CatchUpWatch:
    """The watch of one process; several submit one request."""

    def __init__(self, pools: Mapping[Half, Connections], legs: CurrentLegs, requests: Requests) -> None:
        self._pools = pools
        self._legs = legs
        self._requests = requests

    async def resume(self, table_maps: Sequence[str]) -> None:
        """Bring table maps that paused themselves live again, after what waits is delivered."""
        await self._submit(RESUME, table_maps)

    async def run(self) -> None:
        """Watch until cancelled. A database that is away is waited for."""
        while True:
            try:
                await self.look()
            except (*DRIVER_ERRORS, Unavailable) as error:
                log.warning("queues_not_watched", error=str(error))
            await asyncio.sleep(INTERVAL)

    async def look(self) -> None:
        """Submit the delivery of what waits for nothing in the queues of running table maps."""
        found: set[str] = set()
        for pool in self._pools.values():
            found |= await backlog.running_with_deliverable(pool)
        if found:
            await self._submit(DELIVER, list(found))

    async def _submit(self, action: str, table_maps: Sequence[str]) -> None:
        order = enable_order(self._legs.now.catalog)
        ordered = sorted(table_maps, key=lambda name: order.get(name, len(order)))
        submitted = await self._requests.submit_if_free(action, ordered, {}, WATCH)
        if submitted is not None:
            log.info("queues_watched", action=action, table_maps=ordered, request=str(submitted))
