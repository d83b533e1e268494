"""An administrator who pauses, resumes, stops and runs the customers' table maps while writers write both halves.

While a map does not carry changes, what both halves say of one record can't both be right. So for each such spell the
writers keep to one half, the master of what follows, and delete nothing while the map is stopped, which forgets.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx
from tests.torture.history import Side
from tests.torture.running import Running
from tests.torture.writers import BOTH, Writers, new_client

CUSTOMERS = "accounts - Customers V3"
PARTIES = "msdyn_parties - CDS Parties"
API = "/api/isthmus/v1"

PATIENCE_SECONDS = 180.0
"""How long table maps may take to come into a state, with processes dying all the while."""


class TableMapDriver:
    """Goes through spells drawn from a seed, on the environment that `writers` write. Has a client of its own."""

    def __init__(self, running: Running, writers: Writers, seed: str) -> None:
        self._running = running
        self._writers = writers
        self._rng = random.Random(f"{seed}-driver")
        self._said = ""
        self.spells: Counter[str] = Counter()

    async def run(self, spells: int) -> None:
        """So many spells, each of which ends with all table maps running and their queues empty."""
        for _ in range(spells):
            names = self._rng.choice(([CUSTOMERS], [PARTIES, CUSTOMERS]))
            home: Side = self._rng.choice(("dataverse", "finops"))
            if self._rng.random() < 0.6:
                await self._pause_and_resume(names, home)
            else:
                await self._stop_and_run(names, home)

    async def _pause_and_resume(self, names: list[str], home: Side) -> None:
        live = self._rng.choice(("after", "after", "keep"))
        await self._writers.keep_to(home)
        await self._bring(names, "pause", {}, "paused")
        await asyncio.sleep(self._rng.uniform(0.5, 4))
        await self._bring(names, "resume", {"live": live, "master": home}, "running")
        await self._until_queues_are_empty()
        self._writers.keep_to_both()
        self.spells[f"paused, then live: {live}"] += 1

    async def _stop_and_run(self, names: list[str], home: Side) -> None:
        await self._writers.keep_to(home, may_delete=False)
        await self._bring(names, "stop", {"dependents": False}, "not_running")
        await asyncio.sleep(self._rng.uniform(0.5, 4))
        run = {"master": home, "needed": False}
        await self._bring(names, "run", run, "running", while_initializing=self._writers.let_delete)
        self._writers.keep_to_both()
        self.spells["stopped, then initial sync"] += 1

    async def _bring(
        self,
        names: list[str],
        action: str,
        body: dict[str, Any],
        state: str,
        while_initializing: Callable[[], None] = lambda: None,
    ) -> None:
        """Ask for an action until the table maps are in the state; a request outlives the process that took it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        said = ""
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                async with new_client(self._running) as client:
                    states = [await self._state(client, name) for name in names]
                    if all(found == state and not is_open for found, is_open in states):
                        return
                    if all(found == "initializing" for found, _ in states):
                        while_initializing()
                    if not any(is_open for _, is_open in states):
                        left = [name for name, (found, _) in zip(names, states, strict=True) if found != state]
                        answer = await client.post(f"{API}/{action}", json={"table_maps": left, **body})
                        said = f"{answer.status_code} {answer.text}"
            await asyncio.sleep(0.1)
        refused = await self._refused_records()
        raise AssertionError(f"{names} did not become {state}. {said} {self._said} {refused}")

    async def _state(self, client: httpx.AsyncClient, name: str) -> tuple[str, bool]:
        """State of a table map, and whether a request about it has not ended."""
        answer = await client.get(f"{API}/table-maps/{quote(name, safe='')}")
        if answer.status_code != 200:
            raise httpx.TransportError(answer.text)
        summary = answer.json()["summary"]
        last = summary["last_request"]
        if last is not None and last["message"]:
            self._said = f"{last['action']}: {last['message']}"
        return summary["state"], last is not None and last["state"] in ("waiting", "running")

    async def _refused_records(self) -> str:
        async with new_client(self._running) as client:
            return "; ".join(
                [(await client.get(f"{API}/refused-records", params={"half": half})).text[:1000] for half in BOTH]
            )

    async def _until_queues_are_empty(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if await self._running.queued() == 0:
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"{await self._running.queued()} changes are left in the queues")
