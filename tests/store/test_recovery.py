"""Recovery beside coordinators that are alive: whoever is quicker, nobody fails for it and both halves agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from tests.conftest import NewDatabase

from isthmus.errors import Retriable, Unavailable
from isthmus.ids import new_gid
from isthmus.store import two_phase
from isthmus.store.migrate import migrate
from isthmus.store.pool import Pool
from isthmus.store.recovery import Recovery
from isthmus.store.transaction import Transaction

LINK = "5e5e5e5e"


@pytest.fixture
async def pools(new_database: NewDatabase) -> AsyncIterator[dict[str, Pool]]:
    """Two halves, each with a table of marks."""
    opened = {}
    for half in ("dataverse", "finops"):
        dsn = await new_database()
        connection = await asyncpg.connect(dsn)
        await migrate(connection, "half")
        await connection.execute("create table mark (mark text primary key)")
        await connection.close()
        opened[half] = await Pool.open(dsn, size=5, name="test")
    yield opened
    for pool in opened.values():
        # Not closed: a test that failed has left transactions open, and closing waits for them.
        pool.origin.terminate()
        pool.partner.terminate()


def recovery_of(pools: dict[str, Pool], kind: type[Recovery] = Recovery) -> Recovery:
    return kind({half: pool.origin for half, pool in pools.items()}, LINK, age=0.0)


async def begun(kind: type[Transaction], pool: asyncpg.Pool) -> Transaction:
    """An open transaction that has written a mark."""
    transaction = kind(pool)
    await transaction.begin()
    await transaction.run("insert into mark values ('m')")
    return transaction


async def marks(pools: dict[str, Pool]) -> list[list[str]]:
    return [[r["mark"] for r in await pool.origin.fetch("select mark from mark")] for pool in pools.values()]


class SlowToDecide(Transaction):
    """An origin whose decision reaches its database late."""

    async def run(self, sql: str, *arguments: Any) -> str:
        if sql == two_phase.RECORD_DECISION:
            await asyncio.sleep(0.4)
        return await super().run(sql, *arguments)


class SlowToCommit(Transaction):
    """An origin whose COMMIT reaches its database late."""

    async def commit(self) -> None:
        await asyncio.sleep(0.4)
        await super().commit()


async def test_save_that_recovery_undid_is_refused_as_retry(pools: dict[str, Pool]) -> None:
    """Recovery has fenced it and rolled the partner back; the coordinator finds nothing left to undo."""
    origin = await begun(SlowToDecide, pools["finops"].origin)
    partner = await begun(Transaction, pools["dataverse"].partner)
    recovery = recovery_of(pools)
    saving = asyncio.create_task(two_phase.commit_both(origin, partner, new_gid(LINK, "finops"), recovery.resolve))
    await asyncio.sleep(0.2)
    assert await recovery.run_once() == 1
    with pytest.raises(Retriable, match="abandoned"):
        await saving
    await origin.close()
    await partner.close()
    assert await marks(pools) == [[], []]
    assert await recovery.in_doubt() == []


async def test_recovery_during_a_slow_commit_keeps_the_save(pools: dict[str, Pool]) -> None:
    """The fence waits for the decision; recovery then finishes what the coordinator wanted to."""
    origin = await begun(SlowToCommit, pools["finops"].origin)
    partner = await begun(Transaction, pools["dataverse"].partner)
    recovery = recovery_of(pools)
    saving = asyncio.create_task(two_phase.commit_both(origin, partner, new_gid(LINK, "finops"), recovery.resolve))
    await asyncio.sleep(0.2)
    await asyncio.gather(recovery.run_once(), recovery.run_once())
    await saving
    await origin.close()
    await partner.close()
    assert await marks(pools) == [["m"], ["m"]]
    assert await recovery.in_doubt() == []


async def test_coordinator_that_loses_its_origin_at_commit_asks_instead_of_guessing(pools: dict[str, Pool]) -> None:
    """Cut before COMMIT arrives: the outcome is looked up, found undecided, fenced and told."""

    class Cut(Transaction):
        async def commit(self) -> None:
            pid = await self.value("select pg_backend_pid()")
            await pools["finops"].partner.execute("select pg_terminate_backend($1)", pid)
            await super().commit()

    origin = await begun(Cut, pools["finops"].origin)
    partner = await begun(Transaction, pools["dataverse"].partner)
    recovery = recovery_of(pools)
    with pytest.raises(Retriable, match="nothing was saved"):
        await two_phase.commit_both(origin, partner, new_gid(LINK, "finops"), recovery.resolve)
    await origin.close()
    await partner.close()
    assert await marks(pools) == [[], []]
    assert await recovery.in_doubt() == []


async def test_partner_lost_before_it_prepared_is_a_refusal(pools: dict[str, Pool]) -> None:
    origin = await begun(Transaction, pools["finops"].origin)
    partner = await begun(Transaction, pools["dataverse"].partner)
    pid = await partner.value("select pg_backend_pid()")
    await pools["dataverse"].origin.execute("select pg_terminate_backend($1)", pid)
    await asyncio.sleep(0.1)
    recovery = recovery_of(pools)
    with pytest.raises(Unavailable, match="nothing was saved"):
        await two_phase.commit_both(origin, partner, new_gid(LINK, "finops"), recovery.resolve)
    await origin.close()
    await partner.close()
    assert await marks(pools) == [[], []]


async def test_statement_on_a_connection_that_is_gone_is_unavailable(pools: dict[str, Pool]) -> None:
    transaction = await begun(Transaction, pools["finops"].origin)
    pid = await transaction.value("select pg_backend_pid()")
    await pools["finops"].partner.execute("select pg_terminate_backend($1)", pid)
    await asyncio.sleep(0.1)
    with pytest.raises(Unavailable):
        await transaction.run("select 1")
    await transaction.close()


async def test_save_that_stands_is_not_failed_by_its_connection(pools: dict[str, Pool]) -> None:
    """A connection cut just after COMMIT has been answered."""
    transaction = await begun(Transaction, pools["finops"].origin)
    await transaction.commit()
    transaction._connection.terminate()
    await transaction.close()
    assert await marks(pools) == [[], ["m"]]


async def test_transaction_that_is_being_finished_elsewhere_waits_for_the_next_pass(pools: dict[str, Pool]) -> None:
    """Recovery must not end for it: its process would end with it."""

    class Busy(Recovery):
        async def resolve(self, gid: str) -> str:
            raise Unavailable(f"The prepared transaction {gid} is being finished elsewhere.")

    partner = await begun(Transaction, pools["dataverse"].partner)
    await partner.prepare(new_gid(LINK, "finops"))
    assert await recovery_of(pools, Busy).run_once() == 0
    assert await recovery_of(pools).run_once() == 1
    await partner.close()
    assert await marks(pools) == [[], []]


async def test_half_without_a_free_connection_is_passed_over(pools: dict[str, Pool]) -> None:
    """Recovery must not end when its connection is renewed at a moment at which the server has none left."""
    partner = await begun(Transaction, pools["dataverse"].partner)
    await partner.prepare(new_gid(LINK, "finops"))
    await pools["finops"].origin.execute("create role crowded login password 'crowded' connection limit 0")
    address = pools["finops"].dsn.partition("@")[2]
    try:
        async with asyncpg.create_pool(f"postgresql://crowded:crowded@{address}", min_size=0) as crowded:
            halves = {"finops": crowded, "dataverse": pools["dataverse"].origin}
            assert await Recovery(halves, LINK, age=0.0).run_once() == 0
    finally:
        await pools["finops"].origin.execute("drop role crowded")
    assert await recovery_of(pools).run_once() == 1
    await partner.close()
