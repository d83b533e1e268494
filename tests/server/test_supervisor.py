"""What an environment survives, what it refuses, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest
from tests.server.conftest import RunningEnvironment

from isthmus.errors import Conflict, Unavailable
from isthmus.server.state import ProcessMark, State, is_alive, load_state, mark_of, save_state
from isthmus.store.embedded import EmbeddedPostgres


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def kill(mark: ProcessMark | None) -> None:
    assert mark is not None and is_alive(mark)
    os.kill(mark.pid, signal.SIGKILL)


def postmaster(environment: RunningEnvironment) -> int:
    return int((environment.postgres.home / "data" / "postmaster.pid").read_text().splitlines()[0])


async def serving_pids(environment: RunningEnvironment, requests: int = 40) -> set[int]:
    """Which workers answer, asked on a new connection each time."""
    token = await environment.token()
    found = set()
    for _ in range(requests):
        async with environment.client(headers={"authorization": f"Bearer {token}"}) as client:
            found.add((await client.get("/data")).json()["pid"])
    return found


async def test_both_workers_serve_both_halves_with_and_without_tls(shared: RunningEnvironment) -> None:
    assert await serving_pids(shared) == {mark.pid for mark in shared.state.workers}
    token = await shared.token()
    for base in (shared.state.base_url, shared.state.http_url):
        async with shared.client(headers={"authorization": f"Bearer {token}"}) as client:
            for path in ("/api/data/v9.2/", "/data"):
                answer = await client.get(f"{base}{path}")
                assert (answer.status_code, answer.json()["scheme"]) == (200, base.partition(":")[0])


async def test_who_may_log_in_is_known_to_the_environment(shared: RunningEnvironment) -> None:
    connection = await asyncpg.connect(shared.postgres.dsn("isthmus_dataverse"))
    found = await connection.fetch("SELECT kind, object_id FROM may_log_in ORDER BY kind")
    await connection.close()
    assert [row["kind"] for row in found] == ["application", "user"]
    assert found[0]["object_id"] == shared.credentials.client_id


async def test_health_says_only_whether_it_is_ready(shared: RunningEnvironment) -> None:
    async with shared.client() as client:
        answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_only_loopback_is_listened_on(shared: RunningEnvironment) -> None:
    for mark in shared.state.workers:
        listening = [c.laddr.ip for c in psutil.Process(mark.pid).net_connections("inet") if c.status == "LISTEN"]
        assert listening == ["127.0.0.1", "127.0.0.1"]


async def test_a_killed_worker_is_replaced_while_the_others_serve(environment: RunningEnvironment) -> None:
    first, second = environment.start(workers=2).workers
    kill(first)
    await until(lambda: not is_alive(first))
    assert second.pid in await serving_pids(environment, 3)
    await until(lambda: len(environment.state.workers) == 2 and first not in environment.state.workers)
    await until(lambda: environment.state.state == "running")
    replacement = next(mark for mark in environment.state.workers if mark != second)
    deadline = time.monotonic() + 10
    while replacement.pid not in await serving_pids(environment, 5):
        assert time.monotonic() < deadline


async def test_after_a_killed_supervisor_the_workers_end_and_the_database_is_adopted(
    environment: RunningEnvironment,
) -> None:
    before = environment.start(workers=2)
    database = postmaster(environment)
    connection = await asyncpg.connect(environment.postgres.dsn("isthmus_finops"))
    await connection.execute("INSERT INTO note VALUES ('kept')")
    await connection.close()
    kill(before.supervisor)
    await until(lambda: environment.state.state == "stopped")
    await until(lambda: not any(is_alive(mark) for mark in before.workers))
    after = environment.start()
    assert after.state == "running" and after.supervisor != before.supervisor
    assert postmaster(environment) == database
    connection = await asyncpg.connect(environment.postgres.dsn("isthmus_finops"))
    assert await connection.fetchval("SELECT value FROM note") == "kept"
    await connection.close()
    # Chosen freely at the first start, kept since.
    assert after.base_url == before.base_url


async def test_a_start_right_after_kill_9_of_everything(environment: RunningEnvironment) -> None:
    state = environment.start(workers=2)
    for mark in state.marks:
        kill(mark)
    os.kill(postmaster(environment), signal.SIGKILL)
    assert environment.start().state == "running"
    assert environment.postgres.running()


async def test_a_leftover_worker_that_hangs_is_ended_by_the_next_start(environment: RunningEnvironment) -> None:
    state = environment.start()
    (worker,) = state.workers
    os.kill(worker.pid, signal.SIGSTOP)
    kill(state.supervisor)
    await until(lambda: environment.state.state == "stopped")
    assert environment.start().state == "running"
    assert not is_alive(worker)


async def test_the_database_server_is_started_again_when_it_is_gone(environment: RunningEnvironment) -> None:
    environment.start()
    token = await environment.token()
    for mode in ("fast", "immediate"):
        before = postmaster(environment)
        await environment.postgres.stop(mode)  # type: ignore[arg-type]
        await until(lambda before=before: environment.postgres.running() and postmaster(environment) != before)  # type: ignore[misc]
        async with environment.client(headers={"authorization": f"Bearer {token}"}) as client:
            await until(environment.postgres.running)
            answers = [await _status(client) for _ in range(4)]
        assert answers[-1] == 200


async def _status(client: httpx.AsyncClient) -> int:
    return (await client.get("/data")).status_code


async def test_requests_that_run_are_let_finish(environment: RunningEnvironment) -> None:
    state = environment.start()
    token = await environment.token()
    async with environment.client(headers={"authorization": f"Bearer {token}"}, timeout=30) as client:
        answer = asyncio.create_task(client.get("/data?seconds=1.5"))
        await asyncio.sleep(0.5)
        stopped = await asyncio.to_thread(environment.isthmus, "down")
        assert (await answer).status_code == 200
    assert stopped.returncode == 0
    assert not any(is_alive(mark) for mark in state.marks)
    assert not environment.postgres.running()


async def test_what_hangs_is_ended_after_its_time(environment: RunningEnvironment) -> None:
    environment.start(drain_seconds=1)
    token = await environment.token()
    async with environment.client(headers={"authorization": f"Bearer {token}"}, timeout=60) as client:
        answer = asyncio.create_task(client.get("/data?seconds=50"))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        assert (await asyncio.to_thread(environment.isthmus, "down")).returncode == 0
        assert time.monotonic() - began < 15
        with pytest.raises(httpx.HTTPError):
            (await answer).raise_for_status()


async def test_a_second_start_is_refused(shared: RunningEnvironment) -> None:
    supervisor = shared.state.supervisor
    assert supervisor is not None
    with pytest.raises(Conflict, match=f"already .process {supervisor.pid}."):
        shared.start()
    assert shared.state.state == "running"


async def test_many_starts_at_once_have_one_winner(environment: RunningEnvironment) -> None:
    outcomes = await asyncio.gather(*(asyncio.to_thread(environment.start) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if not isinstance(outcome, State)] == [Conflict, Conflict]
    assert environment.state.state == "running"


async def test_a_port_of_another_environment_is_refused(
    shared: RunningEnvironment, environment: RunningEnvironment
) -> None:
    port = int(shared.state.base_url.rpartition(":")[2])
    with pytest.raises(Conflict, match=f"port {port} on 127.0.0.1 is taken"):
        environment.start(port=port)
    assert environment.state.state == "stopped"
    assert not environment.postgres.running()


async def test_a_port_of_another_program_is_refused(environment: RunningEnvironment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Conflict, match="is taken by another process"):
        environment.start(http_port=taken.getsockname()[1])


async def test_a_given_port_is_for_https_and_the_next_for_http(environment: RunningEnvironment) -> None:
    port = _two_free_ports()
    state = environment.start(port=port)
    assert state.base_url == f"https://localhost:{port}"
    assert state.http_url == f"http://localhost:{port + 1}"
    # Straight away again, with connections of the first run in TIME_WAIT.
    await serving_pids(environment, 3)
    assert environment.isthmus("down").returncode == 0
    assert environment.start(port=port).base_url == state.base_url


def _two_free_ports() -> int:
    for port in range(20000 + os.getpid() % 10000, 60000, 2):
        try:
            with socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", port + 1)):
                return port
        except OSError:
            continue
    raise AssertionError("no two free ports")


async def test_a_start_that_fails_says_why_and_leaves_nothing(environment: RunningEnvironment) -> None:
    (environment.data_dir / "fail_migration").touch()
    with pytest.raises(Unavailable, match="the migration was told to fail"):
        environment.start()
    assert environment.state.state == "stopped"
    assert not environment.postgres.running()
    (environment.data_dir / "fail_migration").unlink()
    assert environment.start().state == "running"


async def test_down_while_it_is_starting_leaves_nothing(environment: RunningEnvironment) -> None:
    starting = asyncio.create_task(asyncio.to_thread(environment.start))
    await until(lambda: environment.state.supervisor is not None)
    assert (await asyncio.to_thread(environment.isthmus, "down")).returncode == 0
    with pytest.raises(Unavailable):
        await starting
    assert environment.state.state == "stopped"
    assert not environment.postgres.running()


async def test_a_worker_that_cannot_open_the_environment_says_why(environment: RunningEnvironment) -> None:
    (environment.data_dir / "fail_open").touch()
    with pytest.raises(Unavailable, match="could not start: the environment was told not to open"):
        environment.start()
    assert environment.state.state == "stopped"


async def test_a_half_that_does_not_answer_is_no_start(environment: RunningEnvironment) -> None:
    (environment.data_dir / "fail_finops").touch()
    with pytest.raises(Unavailable, match="/data answers 500"):
        environment.start()
    assert environment.state.state == "stopped"


async def test_servers_of_ones_own_are_checked_and_used(environment: RunningEnvironment, data_dir: Path) -> None:
    own = EmbeddedPostgres(data_dir / "own")
    await own.start()
    try:
        await own.ensure_database("crm")
        connection = await asyncpg.connect(own.dsn("crm"))
        await connection.execute("ALTER SYSTEM SET max_prepared_transactions = 0")
        await connection.close()
        await own.stop()
        await own.start()
        with pytest.raises(Unavailable, match="max_prepared_transactions is 0 on the server of dataverse_dsn"):
            environment.start(dataverse_dsn=own.dsn("crm"))
        connection = await asyncpg.connect(own.dsn("crm"))
        await connection.execute("ALTER SYSTEM RESET max_prepared_transactions")
        await connection.close()
        await own.stop()
        await own.start()
        environment.start(dataverse_dsn=own.dsn("crm"))
        async with environment.client(headers={"authorization": f"Bearer {await environment.token()}"}) as client:
            assert (await client.get("/api/data/v9.2/")).json()["database"] == "crm"
            assert (await client.get("/data")).json()["database"] == "isthmus_finops"
        assert environment.isthmus("down").returncode == 0
        assert own.running()
    finally:
        await own.remove()


async def test_down_leaves_strangers_alone(environment: RunningEnvironment) -> None:
    """A state file from before a restart of the machine names numbers that belong to others by now."""
    me = mark_of(os.getpid())
    stranger = ProcessMark(me.pid, me.started - 1)
    save_state(environment.data_dir, State(state="running", supervisor=stranger, workers=(stranger,)))
    assert environment.state == State()
    done = environment.isthmus("down")
    assert (done.returncode, "Nothing runs" in done.stderr) == (0, True)
    assert load_state(environment.data_dir).supervisor == stranger


async def test_down_cleans_up_after_a_killed_supervisor(environment: RunningEnvironment) -> None:
    state = environment.start()
    kill(state.supervisor)
    await until(lambda: environment.state.state == "stopped")
    assert environment.isthmus("down").returncode == 0
    assert not any(is_alive(mark) for mark in state.marks)
    assert not environment.postgres.running()


async def test_secrets_stay_out_of_arguments_and_logs(shared: RunningEnvironment) -> None:
    password = (shared.data_dir / "postgresql" / "password").read_text()
    for mark in shared.state.marks:
        arguments = " ".join(psutil.Process(mark.pid).cmdline())
        assert password not in arguments and shared.credentials.client_secret not in arguments
    log = (shared.data_dir / "logs" / "server.log").read_text()
    assert password not in log and shared.credentials.client_secret not in log
