"""Recovery: finish or undo the prepared transactions that a dead coordinator, or a lost connection, has left behind.

It may run at any time, at any age, in any number of processes. It never concludes anything from the absence of a
decision: it makes the absence stable first, by writing 'aborted' under the same unique key (the fence). An origin
transaction still on its way then fails on that key; one already committed is found by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

import asyncpg
import msgspec

from isthmus.errors import Unavailable
from isthmus.observe import log
from isthmus.store.connections import Connections
from isthmus.store.transaction import DRIVER_ERRORS, NO_CONNECTION

FENCE = "insert into isthmus.decision (gid, outcome) values ($1, 'aborted') on conflict (gid) do nothing"
OUTCOME = "select outcome from isthmus.decision where gid = $1"
PREPARED = """
select gid, extract(epoch from clock_timestamp() - prepared)::float8 as age
from pg_prepared_xacts where database = current_database() and starts_with(gid, $1) order by prepared
"""

INTERVAL = 1.0
"""Seconds between two passes."""

AGE = 2.0
"""Seconds after which a prepared transaction counts as left behind. Not needed for safety: a younger one would only be
waited for. It keeps recovery from doing the work of coordinators that are alive."""


class InDoubt(msgspec.Struct, frozen=True):
    """A prepared transaction: the half it waits on, its age in seconds, the decision found on its origin.

    `decision` is None while nothing stands there: recovery will fence it and roll it back. It is `unknown` while the
    origin is away.
    """

    gid: str
    half: str
    origin: str
    age: float
    decision: str | None


class Recovery:
    """Resolves prepared transactions of one link between databases, given by half."""

    def __init__(self, pools: Mapping[str, Connections], link: str, *, age: float = AGE) -> None:
        self._pools = pools
        self._prefix = f"isth:{link}:"
        self._age = age

    async def in_doubt(self) -> list[InDoubt]:
        """Every prepared transaction of ours on the halves that are there, without touching any."""
        found = []
        for half, pool in self._pools.items():
            with suppress(*NO_CONNECTION):
                for record in await pool.fetch(PREPARED, self._prefix):
                    gid, origin = record["gid"], record["gid"].split(":")[2]
                    found.append(InDoubt(gid, half, origin, record["age"], await self._decision(gid, origin)))
        return found

    async def _decision(self, gid: str, origin: str) -> str | None:
        try:
            decision: str | None = await self._pools[origin].fetchval(OUTCOME, gid)
        except NO_CONNECTION:
            return "unknown"
        return decision

    async def resolve(self, gid: str) -> str:
        """Fence, read the decision, and carry it out on every half but the origin. Returns 'committed' or 'aborted'."""
        origin = gid.split(":")[2]
        async with self._pools[origin].acquire() as connection:
            await connection.execute(FENCE, gid)
            outcome: str = await connection.fetchval(OUTCOME, gid)
        for half, pool in self._pools.items():
            if half != origin:
                await _finish(pool, gid, outcome)
        return outcome

    async def run_once(self) -> int:
        """One pass over both halves; the number of transactions resolved. A half that is away is passed over."""
        resolved = 0
        for half, pool in self._pools.items():
            try:
                records = await pool.fetch(PREPARED, self._prefix)
            except NO_CONNECTION as error:
                log.warning("recovery_half_away", half=half, error=str(error))
                continue
            for record in records:
                if record["age"] < self._age:
                    continue
                try:
                    outcome = await self.resolve(record["gid"])
                except (*DRIVER_ERRORS, Unavailable) as error:
                    log.warning("recovery_postponed", gid=record["gid"], error=str(error))
                    continue
                resolved += 1
                log.info("recovered", gid=record["gid"], outcome=outcome, age=timedelta(seconds=record["age"]))
        return resolved

    async def run(self) -> None:
        """Pass after pass until cancelled. An error it does not know ends it and its process: never silently."""
        while True:
            await self.run_once()
            await asyncio.sleep(INTERVAL)


async def _finish(pool: Connections, gid: str, outcome: str) -> None:
    """Carry a decision out. Absent means somebody else has; busy means somebody else is about to."""
    verb = "commit" if outcome == "committed" else "rollback"
    try:
        await pool.execute(f"{verb} prepared '{_safe(gid)}'")
    except asyncpg.UndefinedObjectError:
        return
    except asyncpg.ObjectInUseError as error:
        raise Unavailable(f"The prepared transaction {gid} is being finished elsewhere.") from error


def _safe(gid: str) -> str:
    """A global identifier of ours has no character that could end the literal: PREPARE takes no parameters."""
    if not gid.replace(":", "").replace("_", "").isalnum():
        raise ValueError(gid)
    return gid
