"""Rounds of torture: writers at work, faults among them, then quiet, and the oracle's judgement."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from typing import Literal

import asyncpg
import msgspec
from tests.torture.history import History
from tests.torture.oracle import Figures, check
from tests.torture.running import NotStarted, Running
from tests.torture.table_map_driver import TableMapDriver
from tests.torture.writers import World, Writers, new_client, prepare_world

from isthmus.store.crash_points import NAMES

CHANCE = 0.03
"""At each pass of a crash point. With it about as many processes die there as are killed at random."""

QUIET_SECONDS = 20.0
WRITES_BETWEEN_FAULTS = 6
PATIENCE_SECONDS = 6.0

Fault = Literal["kill", "pause", "cut", "fast", "immediate"]
WEIGHTS: dict[Fault, float] = {"kill": 0.68, "pause": 0.1, "cut": 0.1, "fast": 0.05, "immediate": 0.07}


class Report(msgspec.Struct):
    """What a whole run came to."""

    seed: int
    seconds: float = 0.0
    kills: Counter[str] = msgspec.field(default_factory=Counter)
    database_faults: Counter[str] = msgspec.field(default_factory=Counter)
    recoveries: Counter[str] = msgspec.field(default_factory=Counter)
    spells: Counter[str] = msgspec.field(default_factory=Counter)
    slowest_start: float = 0.0
    figures: Figures = msgspec.field(default_factory=Figures)

    def text(self) -> str:
        """The figures as a table, and after it whatever went wrong, in words."""
        figures = self.figures
        rows: list[tuple[str, object]] = [
            ("seed", self.seed),
            ("seconds", round(self.seconds)),
            ("kill -9 of server processes", sum(self.kills.values())),
            *((f"  {point}", count) for point, count in sorted(self.kills.items())),
            ("database restarts and cuts", sum(self.database_faults.values())),
            *((f"  {kind}", count) for kind, count in sorted(self.database_faults.items())),
            *((name, count) for name, count in sorted(self.recoveries.items())),
            *((f"table maps {spell}", count) for spell, count in sorted(self.spells.items())),
            ("slowest start after a kill (s)", round(self.slowest_start, 1)),
            ("records", figures.records),
            ("acknowledged writes", figures.acknowledged),
            ("refused writes", figures.refused),
            ("  of these never sent, no server there", figures.never_sent),
            ("  of these for a lock held too long", figures.lock_timeouts),
            ("  of these for an unexpected error", figures.unexpected),
            ("outcome unknown to the client", figures.unknown),
            ("repeated until answered", figures.repeated),
            ("records apart", figures.records_apart),
            ("acknowledged lost", figures.acknowledged_lost),
            ("refused yet applied", figures.refused_yet_applied),
            ("duplicates", figures.duplicates),
            ("out of order", figures.out_of_order),
            ("prepared transactions left", figures.prepared_left),
        ]
        return "\n".join([*(f"{name:<40}{value:>12}" for name, value in rows), *figures.examples])


class Torture:
    """Round after round on one environment, with everything that is random drawn from one seed."""

    def __init__(self, running: Running, seed: int, *, writers: int = 10, records: int = 24) -> None:
        self._running = running
        self._rng = random.Random(seed)
        self._writers = writers
        self._records = records
        self._rounds = 0
        self._world: World | None = None
        self._work: Writers | None = None
        self.report = Report(seed)

    async def start(self, slow_share: float = 0.2, slow_seconds: float = 0.6) -> None:
        """Bring the environment up and make what the customers need; then commits become slow."""
        await self._running.up()
        async with new_client(self._running) as client:
            self._world = await prepare_world(client)
        await self._running.slow_commits(slow_share, slow_seconds)

    async def round(self, kills: int, points: tuple[str, ...], seconds: float = 600.0) -> Figures:
        """One round of `kills` kills, shared out over `points` ("" = at random only), and its figures."""
        began = time.monotonic()
        assert self._world is not None
        self._rounds += 1
        name = f"{chr(97 + self._rounds % 26)}{self._rounds}x"
        history = History(name)
        self._work = Writers(self._running, history, self._world, f"{self.report.seed}-{self._rounds}")
        await self._work.start(self._writers, self._records)
        for point in points:
            await self._change_point(point)
            await self._hurt(kills // len(points), began + seconds)
        await self._work.stop()
        await self._running.wait_until_quiet(QUIET_SECONDS)
        figures = await check(self._running, history)
        self._report(figures, began)
        return figures

    async def table_map_round(self, spells: int) -> Figures:
        """One round in which an administrator pauses, resumes, stops and runs table maps, among kills and restarts."""
        began = time.monotonic()
        assert self._world is not None
        self._rounds += 1
        history = History(f"m{self._rounds}x")
        self._work = Writers(self._running, history, self._world, f"{self.report.seed}-m{self._rounds}")
        driver = TableMapDriver(self._running, self._work, f"{self.report.seed}-{self._rounds}")
        await self._work.start(self._writers, self._records)
        driving = asyncio.create_task(driver.run(spells))
        while not driving.done():
            # Rare enough for a batch of catch-up to come to its end now and then.
            await asyncio.sleep(self._rng.uniform(1.0, 5.0))
            with suppress(asyncpg.PostgresError, OSError):
                await self._fault(self._rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])
        await driving
        await self._work.stop()
        await self._running.wait_until_quiet(QUIET_SECONDS)
        figures = await check(self._running, history)
        self.report.spells += driver.spells
        self._report(figures, began)
        return figures

    async def write(self, seconds: float) -> Figures:
        """Let the writers write without any fault; the figures."""
        assert self._world is not None
        self._rounds += 1
        history = History(f"q{self._rounds}x")
        work = Writers(self._running, history, self._world, f"{self.report.seed}-{self._rounds}")
        await work.start(self._writers, self._records)
        await asyncio.sleep(seconds)
        await work.stop()
        await self._running.wait_until_quiet(QUIET_SECONDS)
        return await check(self._running, history)

    def _report(self, figures: Figures, began: float) -> None:
        self.report.figures.add(figures)
        self.report.kills = self._running.kills()
        self.report.database_faults = self._running.database_restarts
        events = self._running.log_events()
        self.report.recoveries = Counter({name: n for name, n in events.items() if name.startswith("recovered")})
        self.report.seconds += time.monotonic() - began

    async def _change_point(self, point: str) -> None:
        """Kill the supervisor, and with it everything, while writers write; start again with another crash point."""
        await self._running.kill_supervisor()
        began = time.monotonic()
        for attempts_left in (2, 1, 0):
            try:
                await self._running.up(point, CHANCE)
                break
            except NotStarted:
                # Writers are at it: both processes may have met the crash point before the first answer.
                if not attempts_left:
                    raise
        self.report.slowest_start = max(self.report.slowest_start, time.monotonic() - began)

    async def _hurt(self, kills: int, deadline: float) -> None:
        """Faults, each once some writes have gone through since the last, until there are enough kills."""
        goal = sum(self._running.kills().values()) + kills
        while sum(self._running.kills().values()) < goal and time.monotonic() < deadline:
            await self._wait_for_writes()
            await asyncio.sleep(self._rng.random() * 0.4)
            with suppress(asyncpg.PostgresError, OSError):
                await self._fault(self._rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])

    async def _wait_for_writes(self) -> None:
        """Until some writes have been acknowledged since now, or for a few seconds."""
        assert self._work is not None
        goal = self._work.acknowledged + WRITES_BETWEEN_FAULTS
        for _ in range(int(PATIENCE_SECONDS / 0.02)):
            if self._work.acknowledged >= goal:
                return
            await asyncio.sleep(0.02)

    async def _fault(self, fault: Fault) -> None:
        running, rng = self._running, self._rng
        match fault:
            case "kill" | "pause":
                workers = running.workers()
                if workers and fault == "kill":
                    running.kill_worker(rng.choice(workers))
                elif workers:
                    await running.pause_worker(rng.choice(workers), rng.uniform(0.3, 2.5))
            case "cut":
                await running.cut_connections(rng.choice(("dataverse", "finops")))
            case _:
                await running.restart_databases(fault)


def all_points() -> tuple[str, ...]:
    """Every named crash point, and none: kills at random only (which there are beside each of the others too)."""
    return (*NAMES, "")
