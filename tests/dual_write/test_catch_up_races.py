"""Catch-up under fire: writers on both halves that never rest, processes killed in the middle of a commit.

What arrives is counted by triggers of the databases: they see what was committed, in the order it was, whichever
process wrote it. That the halves end equal would hide a change that was lost and written over later.
"""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from tests.conftest import NewDatabase
from tests.support.customer_groups import GROUPS, Site
from tests.support.writing import create, update

from isthmus.apps.principal import Half
from isthmus.config import Settings
from isthmus.dual_write.requests import Requests
from isthmus.environments.environment import Environment
from isthmus.errors import Retriable

COUNT_ARRIVALS = """
create table arrival (n bigint generated always as identity, record text, description text);
create function count_arrival() returns trigger language plpgsql as $$
begin
    insert into arrival (record, description) values (new.{key}, new.{description});
    return null;
end
$$;
create trigger created after insert on {table} for each row execute function count_arrival();
create trigger changed after update on {table} for each row
    when (old.{description} is distinct from new.{description}) execute function count_arrival();
"""
TABLES: dict[Half, dict[str, str]] = {
    "finops": {"table": "finops.custgroup", "key": "customergroupid", "description": "description"},
    "dataverse": {
        "table": "dataverse.msdyn_customergroup",
        "key": "msdyn_groupid",
        "description": "msdyn_description",
    },
}


async def opened(addresses: dict[str, str]) -> Site:
    return Site(await Environment.open(Settings(pool_size=10, **addresses)))


@pytest.fixture
async def addresses(templates: dict[str, str], new_database: NewDatabase) -> dict[str, str]:
    """Databases of an environment with one legal entity, in which arrivals are counted."""
    found = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    site = await opened(found)
    try:
        await create(site.finops, "OMLegalEntity", {"legalentityid": "USMF", "name": "Contoso"})
    finally:
        await site.environment.close()
    for half, names in TABLES.items():
        connection = await asyncpg.connect(found[f"{half}_dsn"])
        await connection.execute(COUNT_ARRIVALS.format(**names))
        await connection.close()
    return found


@pytest.fixture
async def site(addresses: dict[str, str]) -> AsyncIterator[Site]:
    site = await opened(addresses)
    try:
        yield site
    finally:
        await site.environment.close()


async def arrivals(addresses: dict[str, str], half: Half) -> dict[str, list[str]]:
    """What a half's table went through: descriptions by group, in order."""
    connection = await asyncpg.connect(addresses[f"{half}_dsn"])
    try:
        found: dict[str, list[str]] = {}
        for row in await connection.fetch("select record, description from arrival order by n"):
            found.setdefault(row["record"], []).append(row["description"])
        return found
    finally:
        await connection.close()


async def stubbornly(write: Callable[[], Awaitable[None]]) -> None:
    """Send the same save again for as long as it loses a race."""
    while True:
        try:
            return await write()
        except Retriable:
            await asyncio.sleep(0.01)


class Writer:
    """Describes one group again and again on one half; `made` are the descriptions whose saves were acknowledged."""

    def __init__(self, site: Site, half: Half, number: str, row_id: Any) -> None:
        self.half = half
        self.number = number
        self.made: list[str] = []
        self._app = site.finops if half == "finops" else site.dataverse
        self._id = row_id

    async def run(self, done: asyncio.Event) -> None:
        table, column = (
            ("CustCustomerGroupEntity", "description")
            if self.half == "finops"
            else ("msdyn_customergroup", "msdyn_description")
        )
        while not done.is_set():
            description = f"{self.half} {len(self.made)}"
            await stubbornly(lambda: update(self._app, table, {self._id: {column: description}}))  # noqa: B023
            self.made.append(description)
            await asyncio.sleep(0)


async def test_busy_writers_lose_nothing_double_nothing_and_stay_in_order(
    site: Site, addresses: dict[str, str]
) -> None:
    """Six flips, with groups that one half writes, and one that both write."""
    writers: list[Writer] = []
    for number in ("F1", "F2", "D1", "D2", "HOT"):
        recid = await site.group(number, "start")
        id_ = (await site.row(number))["msdyn_customergroupid"]
        if number not in ("D1", "D2"):
            writers.append(Writer(site, "finops", number, recid))
        if number not in ("F1", "F2"):
            writers.append(Writer(site, "dataverse", number, id_))
    done = asyncio.Event()
    tasks = [asyncio.create_task(writer.run(done)) for writer in writers]
    paused = 0
    for flip in range(6):
        await site.pause()
        await asyncio.sleep(0.3)
        paused += sum([len(await site.queued(half)) for half in ("finops", "dataverse")])
        request = await site.resume(live="keep" if flip % 3 == 2 else "after")
        assert (request.state, request.message) == ("completed", None)
        await asyncio.sleep(0.2)
    done.set()
    await asyncio.gather(*tasks)
    await site.until_delivered("finops")
    await site.until_delivered("dataverse")
    assert paused > 20, "the table map was hardly paused"
    for writer in writers:
        if writer.number == "HOT":
            continue
        for half in ("finops", "dataverse"):
            assert (await arrivals(addresses, half))[writer.number] == ["start", *writer.made]
    assert (await site.row("HOT"))["msdyn_description"] == (await site.record("HOT"))["description"]


PROCESS = textwrap.dedent(
    """
    import asyncio, json, os, signal, sys
    from isthmus.config import Settings
    from isthmus.dual_write import catch_up
    from isthmus.environments.environment import Environment
    from isthmus.store import two_phase

    passes = 0

    def die_at_the_fifth(name):
        global passes
        passes += name == sys.argv[2]
        if passes == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    async def main():
        catch_up.BATCH = 16
        two_phase.crash_point = die_at_the_fifth
        await Environment.open(Settings(pool_size=4, **json.loads(sys.argv[1])))
        await asyncio.sleep(3600)

    asyncio.run(main())
    """
)


@pytest.mark.parametrize("point", ["after_prepare", "after_decision"])
async def test_killed_catch_up_is_continued_by_another_process(addresses: dict[str, str], point: str) -> None:
    site = await opened(addresses)
    try:
        recids = [await site.group(f"K{number}", "start") for number in range(4)]
        await site.pause()
        for round_ in range(50):
            for recid in recids:
                await site.describe(recid, f"round {round_}")
    finally:
        await site.environment.close()
    control = await asyncpg.create_pool(addresses["control_dsn"], min_size=1, max_size=2)
    id_ = await Requests(control).submit("resume", [GROUPS], {}, "tester")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROCESS,
        json.dumps(addresses),
        point,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(90):
            assert await process.wait() == -9
        request = await Requests(control).get(id_)
        assert request.is_open, "the process was killed too late to tell anything"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await control.close()
    other = await opened(addresses)
    try:
        assert (await other.ended(id_)).state == "completed"
        assert await other.states() == ["running"]
        assert await other.queued("finops") == []
    finally:
        await other.environment.close()
    expected = ["start", *(f"round {number}" for number in range(50))]
    assert await arrivals(addresses, "dataverse") == {f"K{number}": expected for number in range(4)}
