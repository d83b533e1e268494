"""The environment under torture: a real one, started by the command users start it with, and the ways to hurt it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import asyncpg
import msgspec

from isthmus.config import DATAVERSE_DATABASE, FINOPS_DATABASE
from isthmus.server.state import State, current_state
from isthmus.store.embedded import EmbeddedPostgres, StopMode

DATABASES = {"dataverse": DATAVERSE_DATABASE, "finops": FINOPS_DATABASE}
MUTANTS = Path(__file__).parent / "mutants"

REFUSED_BY_DATABASE = ("!dataverse", "!finops")
"""What a memo must not end with, on either half: its database refuses such a row when it prepares or commits."""

SLOW_COMMITS = """
create schema torture;
create table torture.slow (share float8 not null, seconds float8 not null);
insert into torture.slow values (0, 0);
create function torture.dawdle() returns trigger language plpgsql as $$
begin
    if new.{memo} like '%!{half}' then
        raise check_violation using constraint = 'refused', table = tg_table_name;
    end if;
    perform pg_sleep(random() * s.seconds) from torture.slow s where random() < s.share;
    return null;
end $$;
create constraint trigger dawdle after insert or update on {table} deferrable initially deferred
    for each row execute function torture.dawdle();
"""
"""A deferred trigger, the last thing before a transaction is prepared or committed: it takes its time, or refuses."""

MEMOS = {"dataverse": ("dataverse.account", "description"), "finops": ("finops.custtable", "memo")}
"""Table and column of each half in which the writers keep their marks."""


class NotStarted(Exception):
    """A command of ours refused; the text says which and why."""


class Running:
    """An environment of two server processes on its own data directory, with recovery at age zero."""

    def __init__(self, data_dir: Path, mutant: str = "") -> None:
        self.data_dir = data_dir
        self.mutant = mutant
        self.postgres = EmbeddedPostgres(data_dir / "postgresql")
        self.base_url = ""
        self.token = ""
        self.crash_point = ""
        self.database_restarts: Counter[str] = Counter()
        self._kills_by_us: dict[int, str] = {}
        self._points: list[tuple[int, str]] = []

    # --- starting and stopping ----------------------------------------------------------------------------------

    async def up(self, crash_point: str = "", chance: float = 0.0) -> None:
        """Start it; its processes kill themselves at `crash_point` with that chance at each pass."""
        self.crash_point = crash_point
        self._points.append((self._log_size(), crash_point))
        await self._isthmus(
            *("up", "--detach", "--port", "0", "--workers", "2"),
            ISTHMUS_CRASH_POINT=f"{crash_point}:{chance}" if crash_point else "",
        )
        status = json.loads(await self._isthmus("status", "--json"))
        self.base_url = status["http_url"].rstrip("/")
        if not self.token:
            self.token = await self._isthmus("token")

    async def down(self) -> None:
        """Stop it in good order."""
        await self._isthmus("down")

    async def slow_commits(self, share: float, seconds: float) -> None:
        """From now on this share of written rows takes up to so many seconds to prepare or commit."""
        for half in DATABASES:
            connection = await self.connect(half)
            try:
                if await connection.fetchval("select to_regclass('torture.slow')") is None:
                    table, memo = MEMOS[half]
                    await connection.execute(SLOW_COMMITS.format(table=table, memo=memo, half=half))
                await connection.execute("update torture.slow set share = $1, seconds = $2", share, seconds)
            finally:
                await connection.close()

    async def connect(self, half: str) -> asyncpg.Connection:
        """A connection of the test's own, past all of the product, to the database of a half."""
        return await asyncpg.connect(self.postgres.dsn(DATABASES[half]), timeout=30)

    # --- faults -------------------------------------------------------------------------------------------------

    def workers(self) -> list[int]:
        """Numbers of the server processes that serve."""
        return [mark.pid for mark in self._state().workers]

    def kill_worker(self, pid: int) -> None:
        """`kill -9` at whatever it is doing."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._kills_by_us[pid] = "at random"

    async def pause_worker(self, pid: int, seconds: float) -> None:
        """Stop a process for a while, as a machine that is out of memory does: it is slow, not dead."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(seconds)
            os.kill(pid, signal.SIGCONT)

    async def kill_supervisor(self) -> None:
        """`kill -9` of the process that keeps the others; those end by themselves."""
        supervisor = self._state().supervisor
        if supervisor is not None:
            self._kills_by_us[supervisor.pid] = "supervisor"
            with suppress(ProcessLookupError):
                os.kill(supervisor.pid, signal.SIGKILL)

    async def restart_databases(self, mode: StopMode) -> None:
        """Stop the database server (immediate: as a power cut would) and start it again."""
        await self.postgres.stop(mode)
        await asyncio.sleep(0.2)
        await self.postgres.start()
        self.database_restarts[mode] += 1

    async def cut_connections(self, half: str) -> None:
        """End every connection that the server processes have to one half, in whatever they are doing."""
        with suppress(asyncpg.PostgresError, OSError):
            connection = await self.connect(half)
            try:
                await connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid()"
                )
            finally:
                await connection.close()
            self.database_restarts[f"{half} connections cut"] += 1

    # --- what it looks like -------------------------------------------------------------------------------------

    async def prepared(self) -> int:
        """Prepared transactions on both halves."""
        count = 0
        for half in DATABASES:
            connection = await self.connect(half)
            try:
                count += await connection.fetchval(
                    "select count(*) from pg_prepared_xacts where database = current_database()"
                )
            finally:
                await connection.close()
        return count

    async def queued(self) -> int:
        """Changes that wait in the queues of both halves, or were refused."""
        count = 0
        for half in DATABASES:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                connection = await self.connect(half)
                try:
                    count += await connection.fetchval(
                        "select count(*) from isthmus.queued_change where status in ('waiting', 'failed')"
                    )
                finally:
                    await connection.close()
                continue
            return -1
        return count

    async def wait_until_quiet(self, seconds: float) -> None:
        """Wait until both halves answer and nothing is prepared or open any more, for so many seconds at most."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                if len(self.workers()) == 2 and await self.prepared() == 0 and not await self._open_transactions():
                    return
            await asyncio.sleep(0.1)

    async def _open_transactions(self) -> int:
        connection = await self.connect("finops")
        try:
            count: int = await connection.fetchval(
                "select count(*) from pg_stat_activity where datname = any($1) and pid <> pg_backend_pid() "
                "and xact_start is not null",
                list(DATABASES.values()),
            )
        finally:
            await connection.close()
        return count

    def kills(self) -> Counter[str]:
        """Processes that died of `kill -9`, by the point where it met them."""
        found = Counter(point for point in self._kills_by_us.values() if point == "supervisor")
        for offset, line in self._log_lines():
            if line.get("event") == "worker ended" and line.get("exit_code") == -signal.SIGKILL:
                pid = line["pid"]
                found[self._kills_by_us.get(pid) or self._point_at(offset) or "by somebody else"] += 1
        return found

    def log_events(self) -> Counter[str]:
        """What the processes have logged, by event; of recovery also the outcome."""
        return Counter(
            " ".join(str(line[name]) for name in ("event", "outcome") if name in line) for _, line in self._log_lines()
        )

    def _point_at(self, offset: int) -> str:
        return next((point for begin, point in reversed(self._points) if begin <= offset), "")

    def _log_lines(self) -> list[tuple[int, dict[str, object]]]:
        lines, offset = [], 0
        with suppress(FileNotFoundError), self._log_file().open("rb") as file:
            for line in file:
                with suppress(msgspec.DecodeError):
                    lines.append((offset, msgspec.json.decode(line, type=dict[str, object])))
                offset += len(line)
        return lines

    def _log_size(self) -> int:
        return self._log_file().stat().st_size if self._log_file().exists() else 0

    def _log_file(self) -> Path:
        return self.data_dir / "logs" / "server.log"

    def _state(self) -> State:
        return current_state(self.data_dir)

    async def _isthmus(self, *arguments: str, **variables: str) -> str:
        environment = {**os.environ, "ISTHMUS_RECOVERY_AGE": "0", **variables}
        if self.mutant:
            environment |= {"TORTURE_MUTANT": self.mutant, "PYTHONPATH": str(MUTANTS)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "isthmus", *arguments, "--data-dir", str(self.data_dir)),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complained = await process.communicate()
        if process.returncode:
            raise NotStarted(f"isthmus {arguments[0]} ended with {process.returncode}: {complained.decode()}")
        return said.decode().strip()
