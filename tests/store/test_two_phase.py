"""The commit protocol on two real databases: each clause, and that it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest
from tests.conftest import NewDatabase

from isthmus.errors import Bug, Rejected, Retriable
from isthmus.ids import new_gid
from isthmus.store import two_phase
from isthmus.store.migrate import migrate
from isthmus.store.pool import Pool
from isthmus.store.recovery import Recovery
from isthmus.store.transaction import Transaction

LINK = "0a1b2c3d"


class Halves:
    """Two databases, each with a table of marks."""

    def __init__(self, dataverse: Pool, finops: Pool) -> None:
        self.dataverse = dataverse
        self.finops = finops
        self.recovery = Recovery({"dataverse": dataverse.origin, "finops": finops.origin}, LINK, age=0.0)

    async def marks(self) -> tuple[set[str], set[str]]:
        """Marks that stand on each half."""
        return await _marks(self.dataverse), await _marks(self.finops)

    async def write_both(self, mark: str) -> tuple[Transaction, Transaction, str]:
        """Open transactions on both halves that have written the mark, origin F&O."""
        origin, partner = Transaction(self.finops.origin), Transaction(self.dataverse.partner)
        for transaction in (origin, partner):
            await transaction.begin()
            await transaction.run("insert into mark values ($1)", mark)
        return origin, partner, new_gid(LINK, "finops")


async def _marks(pool: Pool) -> set[str]:
    return {record["mark"] for record in await pool.origin.fetch("select mark from mark")}


@pytest.fixture
async def halves(new_database: NewDatabase) -> AsyncIterator[Halves]:
    pools = []
    for _ in range(2):
        dsn = await new_database()
        connection = await asyncpg.connect(dsn)
        await migrate(connection, "half")
        await connection.execute(
            "create table mark (mark text primary key, partner text, "
            "constraint refuses_late unique (partner) deferrable initially deferred)"
        )
        await connection.close()
        pools.append(await Pool.open(dsn, size=5, name="test"))
    yield Halves(*pools)
    for pool in pools:
        await pool.close()


async def test_both_halves_have_it_after_commit(halves: Halves) -> None:
    origin, partner, gid = await halves.write_both("a")
    assert await two_phase.commit_both(origin, partner, gid, halves.recovery.resolve) is False
    await origin.close()
    await partner.close()
    assert await halves.marks() == ({"a"}, {"a"})
    assert await halves.recovery.in_doubt() == []


async def test_what_the_partner_refuses_at_prepare_is_on_neither_half(halves: Halves) -> None:
    await halves.dataverse.origin.execute("insert into mark values ('old', 'p')")
    origin, partner, gid = await halves.write_both("a")
    await partner.run("update mark set partner = 'p' where mark = 'a'")
    with pytest.raises(Rejected, match="refuses_late"):
        await two_phase.commit_both(origin, partner, gid, halves.recovery.resolve)
    await origin.close()
    await partner.close()
    assert await halves.marks() == ({"old"}, set())


async def test_prepared_without_decision_is_fenced_and_rolled_back(halves: Halves) -> None:
    origin, partner, gid = await halves.write_both("a")
    await partner.prepare(gid)
    assert await halves.recovery.run_once() == 1
    assert await halves.recovery.in_doubt() == []
    with pytest.raises(asyncpg.UniqueViolationError):
        await origin.run(two_phase.RECORD_DECISION, gid)
    await origin.close()
    await partner.close()
    assert await halves.marks() == (set(), set())


async def test_recovery_waits_for_a_decision_on_its_way(halves: Halves) -> None:
    """The case that a recovery which only reads gets wrong: the decision is written but not yet committed."""
    origin, partner, gid = await halves.write_both("a")
    await partner.prepare(gid)
    await origin.run(two_phase.RECORD_DECISION, gid)
    recovery = asyncio.create_task(halves.recovery.run_once())
    await asyncio.sleep(0.3)
    assert not recovery.done()
    await origin.commit()
    assert await recovery == 1
    await origin.close()
    await partner.close()
    assert await halves.marks() == ({"a"}, {"a"})


async def test_decision_without_second_phase_is_completed(halves: Halves) -> None:
    origin, partner, gid = await halves.write_both("a")
    await partner.prepare(gid)
    await origin.run(two_phase.RECORD_DECISION, gid)
    await origin.commit()
    await origin.close()
    await partner.close()
    (doubt,) = await halves.recovery.in_doubt()
    assert (doubt.half, doubt.origin, doubt.decision) == ("dataverse", "finops", "committed")
    assert await halves.recovery.run_once() == 1
    assert await halves.marks() == ({"a"}, {"a"})


async def test_coordinator_that_was_fenced_is_told_to_send_again(halves: Halves) -> None:
    origin, partner, gid = await halves.write_both("a")
    await halves.finops.origin.execute("insert into isthmus.decision (gid, outcome) values ($1, 'aborted')", gid)
    with pytest.raises(Retriable, match="abandoned"):
        await two_phase.commit_both(origin, partner, gid, halves.recovery.resolve)
    await origin.close()
    await partner.close()
    assert await halves.marks() == (set(), set())
    assert await halves.recovery.in_doubt() == []


async def test_recovery_of_another_link_leaves_it_alone(halves: Halves) -> None:
    origin, partner, _ = await halves.write_both("a")
    await partner.prepare(new_gid("ffffffff", "finops"))
    assert await halves.recovery.run_once() == 0
    await halves.dataverse.origin.execute(f"rollback prepared '{partner.gid}'")
    await origin.close()
    await partner.close()


async def test_partner_whose_transaction_has_failed_is_on_neither_half(halves: Halves) -> None:
    """PostgreSQL takes PREPARE of a failed transaction for a ROLLBACK and reports no error."""
    origin, partner, gid = await halves.write_both("a")
    with pytest.raises(asyncpg.UniqueViolationError):
        await partner.run("insert into mark values ('a')")
    with pytest.raises(Bug, match="PREPARE"):
        await two_phase.commit_both(origin, partner, gid, halves.recovery.resolve)
    await origin.close()
    await partner.close()
    assert await halves.marks() == (set(), set())


async def test_commit_of_a_failed_transaction_is_no_success(halves: Halves) -> None:
    transaction = Transaction(halves.finops.origin)
    await transaction.begin()
    with pytest.raises(asyncpg.UndefinedTableError):
        await transaction.run("insert into nowhere values ('a')")
    with pytest.raises(Bug, match="COMMIT"):
        await transaction.commit()
    await transaction.close()


async def test_cancelled_begin_gives_its_connection_back(halves: Halves) -> None:
    pool = await Pool.open(halves.finops.dsn, size=1, name="test")
    for turns in range(30):
        transaction = Transaction(pool.origin)
        beginning = asyncio.create_task(transaction.begin())
        for _ in range(turns):
            await asyncio.sleep(0)
        beginning.cancel()
        with suppress(asyncio.CancelledError):
            await beginning
        if transaction.state == "open":
            await transaction.close()
        async with asyncio.timeout(2), pool.origin.acquire() as connection:
            assert await connection.fetchval("select 1") == 1
    await pool.close()
