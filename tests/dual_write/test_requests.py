"""Requests outlive processes: one owner at a time, another continues, and nothing ends without a word."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest
from tests.conftest import NewDatabase

from isthmus.dual_write.request_runner import Handler, Progress, RequestRunner
from isthmus.dual_write.requests import Request, Requests
from isthmus.errors import NotFound, Rejected, Retriable, Unavailable

PATIENCE = 10.0
"""Seconds that a test waits for what must happen."""


@pytest.fixture
async def address(templates: dict[str, str], new_database: NewDatabase) -> str:
    return await new_database(templates["control"])


@pytest.fixture
async def pool(address: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(address, min_size=1, max_size=8) as pool:
        yield pool


@asynccontextmanager
async def runner(pool: asyncpg.Pool, **handlers: Handler) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(RequestRunner(pool, handlers).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def ended(requests: Requests, id_: UUID) -> Request:
    async def has_ended() -> bool:
        return not (await requests.get(id_)).is_open

    await until(has_ended)
    return await requests.get(id_)


async def test_request_is_carried_out_with_what_it_asked_for(pool: asyncpg.Pool) -> None:
    seen: list[Request] = []

    async def resume(request: Request, progress: Progress) -> None:
        seen.append(request)
        progress.report("A", company="usmf", done=3, total=3, refused=1)

    requests = Requests(pool)
    async with runner(pool, resume=resume):
        id_ = await requests.submit("resume", ["A", "B"], {"choice": "keep", "rows": [1, None]}, "somebody")
        request = await ended(requests, id_)
    assert [(r.id, r.table_maps, r.parameters) for r in seen] == [
        (id_, ("A", "B"), {"choice": "keep", "rows": [1, None]})
    ]
    assert (request.state, request.code, request.requested_by) == ("completed", None, "somebody")
    assert [(p.table_map, p.company, p.done, p.total, p.refused) for p in request.progress] == [("A", "usmf", 3, 3, 1)]
    assert request.started_at is not None
    assert request.ended_at is not None


async def test_submission_wakes_a_runner_at_once(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.dual_write.request_runner.POLL", 3600.0)
    woken = asyncio.Event()

    async def run(request: Request, progress: Progress) -> None:
        woken.set()

    async with runner(pool, run=run):
        await asyncio.sleep(0.3)
        await Requests(pool).submit("run", ["A"], {}, "somebody")
        async with asyncio.timeout(2):
            await woken.wait()


async def test_no_two_runners_carry_out_one_request(pool: asyncpg.Pool) -> None:
    running = peak = total = 0

    async def run(request: Request, progress: Progress) -> None:
        nonlocal running, peak, total
        running, total = running + 1, total + 1
        peak = max(peak, running)
        await asyncio.sleep(0.3)
        running -= 1

    requests = Requests(pool)
    async with runner(pool, run=run), runner(pool, run=run), runner(pool, run=run):
        id_ = await requests.submit("run", ["A"], {}, "somebody")
        await ended(requests, id_)
        await asyncio.sleep(0.3)
    assert (peak, total) == (1, 1)


async def test_refusal_ends_a_request_with_its_code_and_message(pool: asyncpg.Pool) -> None:
    async def run(request: Request, progress: Progress) -> None:
        raise Rejected("The table map is running. Stop it first.", code="table_map_transition")

    requests = Requests(pool)
    async with runner(pool, run=run):
        request = await ended(requests, await requests.submit("run", ["A"], {}, "somebody"))
    assert (request.state, request.code) == ("error", "table_map_transition")
    assert request.message == "The table map is running. Stop it first."


async def test_unknown_error_is_recorded_and_the_runner_lives_on(pool: asyncpg.Pool) -> None:
    async def run(request: Request, progress: Progress) -> None:
        if request.parameters["bad"]:
            raise ZeroDivisionError("chunk of size 0")

    requests = Requests(pool)
    async with runner(pool, run=run) as task:
        bad = await ended(requests, await requests.submit("run", ["A"], {"bad": True}, "somebody"))
        good = await ended(requests, await requests.submit("run", ["A"], {"bad": False}, "somebody"))
        unknown = await ended(requests, await requests.submit("dance", ["A"], {}, "somebody"))
        assert not task.done()
    assert (bad.state, bad.code) == ("error", "bug")
    assert "chunk of size 0" in (bad.message or "")
    assert good.state == "completed"
    assert (unknown.state, unknown.code) == ("error", "bug")


async def test_half_that_is_away_is_waited_for(pool: asyncpg.Pool) -> None:
    """And the request shows meanwhile what it waits for."""
    attempts = 0
    back = asyncio.Event()

    async def run(request: Request, progress: Progress) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Retriable("Another save holds it.", code="lock_timeout")
        if not back.is_set():
            raise Unavailable("The database does not answer.")

    requests = Requests(pool)
    async with runner(pool, run=run):
        id_ = await requests.submit("run", ["A"], {}, "somebody")

        async def says_so() -> bool:
            request = await requests.get(id_)
            return (request.state, request.code) == ("running", "unavailable")

        await until(says_so)
        back.set()
        request = await ended(requests, id_)
    assert (request.state, request.code, request.message) == ("completed", None, None)


async def test_request_in_a_pause_is_cancelled_at_once_too(pool: asyncpg.Pool) -> None:
    """However long its pause has become."""
    attempts = 0

    async def run(request: Request, progress: Progress) -> None:
        nonlocal attempts
        progress.check_cancelled()
        attempts += 1
        raise Unavailable("The database does not answer.")

    requests = Requests(pool)
    async with runner(pool, run=run):
        id_ = await requests.submit("run", ["A"], {}, "somebody")

        async def pauses_long() -> bool:
            return attempts >= 5

        await until(pauses_long)
        await requests.cancel(id_)
        assert (await ended(requests, id_)).state == "cancelled"
        assert attempts < 8, "it did not pause"


async def test_request_is_submitted_for_table_maps_that_are_free(pool: asyncpg.Pool) -> None:
    requests = Requests(pool)
    busy = await requests.submit("run", ["A"], {}, "somebody")
    found = await asyncio.gather(
        *(requests.submit_if_free("resume", ["A", "B", "C"], {"live": "after"}, "watch") for _ in range(4))
    )
    [only] = [id_ for id_ in found if id_ is not None]
    assert (await requests.get(only)).table_maps == ("B", "C")
    await requests.cancel(busy)
    assert await requests.submit_if_free("resume", ["A", "B"], {}, "watch") is not None
    assert await requests.submit_if_free("resume", ["A", "B"], {}, "watch") is None


async def test_waiting_request_is_cancelled_at_once(pool: asyncpg.Pool) -> None:
    requests = Requests(pool)
    id_ = await requests.submit("run", ["A"], {}, "somebody")
    await requests.cancel(id_)
    assert (await requests.get(id_)).state == "cancelled"
    with pytest.raises(Rejected) as refusal:
        await requests.cancel(id_)
    assert refusal.value.code == "request_ended"
    with pytest.raises(NotFound):
        await requests.cancel(uuid4())


async def test_running_request_stops_at_a_safe_point(pool: asyncpg.Pool) -> None:
    steps = 0

    async def run(request: Request, progress: Progress) -> None:
        nonlocal steps
        while True:
            progress.check_cancelled()
            steps += 1
            await asyncio.sleep(0.01)

    requests = Requests(pool)
    async with runner(pool, run=run):
        id_ = await requests.submit("run", ["A"], {}, "somebody")

        async def is_running() -> bool:
            return steps > 3

        await until(is_running)
        await requests.cancel(id_)
        assert (await ended(requests, id_)).state == "cancelled"
        had = steps
        await asyncio.sleep(0.1)
        assert steps == had


async def test_runner_whose_connection_is_cut_stops_and_another_continues(pool: asyncpg.Pool) -> None:
    """A lost connection is a lost lock: the handler ends before anybody else begins, the progress so far stands."""
    alive: set[str] = set()
    overlap = False

    def handler(name: str) -> Handler:
        async def run(request: Request, progress: Progress) -> None:
            nonlocal overlap
            overlap = overlap or bool(alive)
            alive.add(name)
            try:
                if request.progress:
                    assert request.progress[0].done == 40
                    return
                progress.report("A", done=40, total=100)
                await asyncio.sleep(3600)
            finally:
                alive.discard(name)

        return run

    requests = Requests(pool)
    async with runner(pool, run=handler("first")):
        id_ = await requests.submit("run", ["A"], {}, "somebody")

        async def has_progress() -> bool:
            return bool((await requests.get(id_)).progress)

        await until(has_progress)
        async with runner(pool, run=handler("second")):
            await asyncio.sleep(0.2)
            assert alive == {"first"}
            owners = await pool.fetch("select pid from pg_locks where locktype = 'advisory' and granted")
            assert len(owners) == 1
            await pool.execute("select pg_terminate_backend($1)", owners[0]["pid"])
            assert (await ended(requests, id_)).state == "completed"
    assert not overlap


OWNER = textwrap.dedent(
    """
    import asyncio, sys
    import asyncpg
    from isthmus.dual_write.request_runner import RequestRunner

    async def run(request, progress):
        progress.report("A", done=7, total=100)
        await asyncio.sleep(1)
        print("owned", flush=True)
        await asyncio.sleep(3600)

    async def main():
        async with asyncpg.create_pool(sys.argv[1], min_size=1, max_size=4) as pool:
            await RequestRunner(pool, {"run": run}).run()

    asyncio.run(main())
    """
)


async def test_killed_process_leaves_its_request_to_another(address: str, pool: asyncpg.Pool) -> None:
    requests = Requests(pool)
    id_ = await requests.submit("run", ["A"], {}, "somebody")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, address, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while await process.stdout.readline() != b"owned\n":
            assert not process.stdout.at_eof(), "the owner ended"
    stood: list[int] = []

    async def run(request: Request, progress: Progress) -> None:
        stood.append(request.progress[0].done)

    async with runner(pool, run=run):
        await asyncio.sleep(1.2)
        assert (await requests.get(id_)).state == "running"
        assert not stood, "two owners"
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert (await ended(requests, id_)).state == "completed"
    assert stood == [7]


async def test_requests_are_listed_newest_first_by_table_map_and_state(pool: asyncpg.Pool) -> None:
    requests = Requests(pool)
    first = await requests.submit("run", ["A"], {}, "somebody")
    second = await requests.submit("run", ["A", "B"], {}, "somebody")
    third = await requests.submit("run", ["B"], {}, "somebody")
    await requests.cancel(second)
    assert [r.id for r in await requests.newest()] == [third, second, first]
    assert [r.id for r in await requests.newest(table_map="A")] == [second, first]
    assert [r.id for r in await requests.newest(states=["waiting"])] == [third, first]
    [newest] = await requests.newest(limit=1)
    assert [r.id for r in await requests.newest(before=newest.number)] == [second, first]
    last = await requests.last_of_each()
    assert {name: request.id for name, request in last.items()} == {"A": second, "B": third}
    assert list(await requests.last_of_each(["A", "C"])) == ["A"]
