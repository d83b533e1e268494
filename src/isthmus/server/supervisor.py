"""The process that runs one environment: database server, ports, workers, and the state file that tells others.

Whatever it is asked to survive (a worker that dies, a database server that is gone) it repairs by itself; when it dies
itself its workers end, the database server stays, and the next start adopts it.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec
import psutil

from isthmus.clock import monotonic
from isthmus.config import CONTROL_DATABASE, DATAVERSE_DATABASE, FINOPS_DATABASE, Settings
from isthmus.errors import Conflict, IsthmusError, Unavailable
from isthmus.observe import log
from isthmus.server.credentials import load_credentials, write_environment_file
from isthmus.server.identity import load_identities
from isthmus.server.log_output import configure_logging
from isthmus.server.order import ENVIRONMENT, LOG_FILE, ServerOrder
from isthmus.server.private_files import prepare_data_dir
from isthmus.server.sockets import HeldPorts, hold_ports
from isthmus.server.state import (
    DataDirectoryLock,
    ProcessMark,
    Running,
    State,
    is_alive,
    load_state,
    mark_of,
    save_state,
    send_signal,
)
from isthmus.server.tls import Certificate, load_certificate
from isthmus.server.tokens import Tokens, load_signing_key
from isthmus.store.embedded import EmbeddedPostgres
from isthmus.store.servers import check_server

# The exit code that tells whoever started us that the directory or a port is taken.
CONFLICT_EXIT = 4
WATCH_SECONDS = 1.0
LEFTOVER_SECONDS = 5.0
FIRST_ANSWER_SECONDS = 30.0
STOP_MARGIN_SECONDS = 15.0
FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 5.0


class Supervisor:
    """Runs one environment on `settings.data_dir`; `environment` names its class as `package.module:Class`."""

    def __init__(self, settings: Settings, environment: str = ENVIRONMENT) -> None:
        self._settings = settings
        self._environment = environment
        self._lock = DataDirectoryLock(settings.data_dir)
        self._postgres = EmbeddedPostgres(settings.data_dir / "postgresql") if settings.embedded_databases else None
        self._held: HeldPorts | None = None
        self._state = State()
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ask it to stop; `run` returns when all is stopped."""
        self._stopping.set()

    async def run(self, on_ready: Callable[[State], None]) -> None:
        """Start everything, call `on_ready` when both halves answer, keep it running until `stop`, then stop it all.

        Raises an IsthmusError that says what kept it from starting; whatever was started is stopped again.
        """
        prepare_data_dir(self._settings.data_dir)
        self._lock.acquire()
        try:
            await self._end_leftovers()
            certificate = self._prepare()
            body = asyncio.create_task(self._serve(certificate, on_ready))
            stopper = asyncio.create_task(self._stopping.wait())
            await asyncio.wait((body, stopper), return_when=asyncio.FIRST_COMPLETED)
            stopper.cancel()
            body.cancel()
            with suppress(asyncio.CancelledError):
                await body
        except BaseExceptionGroup as group:
            raise _first(group) from group
        finally:
            await self._shut_down()

    # --- starting -----------------------------------------------------------------------------------------------

    def _prepare(self) -> Certificate:
        """Secrets, certificate and ports; then others can see that we are starting."""
        settings = self._settings
        load_identities(settings)
        load_signing_key(settings.data_dir)
        certificate = load_certificate(settings)
        self._held = hold_ports(settings)
        ports = self._held.ports
        self._settings = msgspec.structs.replace(settings, port=ports.https, http_port=ports.http)
        host = "localhost" if settings.listens_on_loopback else settings.host
        base_url = f"https://[{host}]:{ports.https}" if ":" in host else f"https://{host}:{ports.https}"
        self._state = State(
            state="starting",
            base_url=base_url,
            http_url=f"http://localhost:{ports.http}",
            dataverse_url=f"{base_url}/api/data/v9.2",
            finops_url=f"{base_url}/data",
            ca_file=str(certificate.ca_file),
            supervisor=mark_of(os.getpid()),
        )
        save_state(settings.data_dir, self._state)
        credentials = load_credentials(settings)
        if credentials is not None:
            write_environment_file(settings, credentials, base_url, certificate.ca_file)
        return certificate

    async def _serve(self, certificate: Certificate, on_ready: Callable[[State], None]) -> None:
        await self._open_databases()
        principals = load_identities(self._settings).principals()
        await self._order().load_environment().migrate(self._settings, principals)
        first_starts = [asyncio.get_running_loop().create_future() for _ in range(self._settings.workers)]
        async with asyncio.TaskGroup() as tasks:
            for number, started in enumerate(first_starts):
                tasks.create_task(self._keep_worker(number, started))
            await asyncio.gather(*first_starts)
            await self._check_both_halves(certificate)
            self._publish("running")
            on_ready(self._state)
            if self._postgres is not None:
                tasks.create_task(self._keep_postgres(self._postgres))

    async def _open_databases(self) -> None:
        """Start or check the servers, and fill the DSNs of embedded databases into the settings."""
        filled: dict[str, str] = {}
        if self._postgres is not None:
            await self._postgres.start()
            for setting, database in EMBEDDED_DATABASES.items():
                if not getattr(self._settings, setting):
                    await self._postgres.ensure_database(database)
                    filled[setting] = self._postgres.dsn(database)
        for setting in EMBEDDED_DATABASES:
            if setting not in filled:
                await check_server(getattr(self._settings, setting), setting)
        self._settings = msgspec.structs.replace(self._settings, **filled)

    async def _check_both_halves(self, certificate: Certificate) -> None:
        """Ask both service documents as a client would. Raises Unavailable when one of them doesn't answer."""
        identities = load_identities(self._settings)
        tokens = Tokens(load_signing_key(self._settings.data_dir), identities, 60)
        token = tokens.issue(
            identities.first(), self._state.base_url, f"{self._state.base_url}/{identities.tenant_id}/v2.0"
        )
        context = ssl.create_default_context()
        if self._settings.tls_cert is None:
            context.load_verify_locations(certificate.ca_file)
        else:
            # A certificate of your own names the host that clients use, which need not be the address we listen on.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for url in (f"{self._state.dataverse_url}/", self._state.finops_url):
            try:
                status, text = await asyncio.to_thread(_get, url, token, context)
            except (OSError, http.client.HTTPException) as error:
                raise Unavailable(f"{url} does not answer: {error}", code="half_unavailable") from error
            if status != 200:
                raise Unavailable(f"{url} answers {status}: {text}", code="half_unavailable")

    def _order(self) -> ServerOrder:
        return ServerOrder.of(self._settings, self._environment)

    # --- keeping it running -------------------------------------------------------------------------------------

    async def _keep_worker(self, number: int, first_start: asyncio.Future[None]) -> None:
        """Start one worker, again and again when it dies: at once after it had served, else after a growing pause."""
        backoff = FIRST_BACKOFF
        while True:
            process = await self._spawn_worker()
            self._workers[number] = process
            self._publish()
            assert process.stdout is not None
            said = (await process.stdout.readline()).decode().strip()
            if said == "ready":
                backoff = FIRST_BACKOFF
                if not first_start.done():
                    first_start.set_result(None)
            elif not first_start.done():
                reason = said or f"it ended; see the log in {self._settings.data_dir / LOG_FILE}"
                raise Unavailable(f"A server process could not start: {reason}", code="worker_start")
            code = await process.wait()
            log.warning("worker ended", number=number, pid=process.pid, exit_code=code, said=said)
            if said != "ready":
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF)

    async def _spawn_worker(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "isthmus.server.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(self._order().line())
        with suppress(ConnectionError):
            await process.stdin.drain()
        return process

    async def _keep_postgres(self, postgres: EmbeddedPostgres) -> None:
        """Start the database server again when somebody stopped or killed it."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if await asyncio.to_thread(postgres.running):
                continue
            log.warning("database server is gone, starting it again")
            try:
                await postgres.start()
            except Unavailable as error:
                log.error("database server did not start", reason=error.message)

    def _publish(self, state: Running | None = None) -> None:
        """Write what runs now into the state file."""
        marks = []
        for process in self._workers.values():
            with suppress(psutil.NoSuchProcess):
                if process.returncode is None:
                    marks.append(mark_of(process.pid))
        self._state = msgspec.structs.replace(self._state, state=state or self._state.state, workers=tuple(marks))
        save_state(self._settings.data_dir, self._state)

    # --- stopping -----------------------------------------------------------------------------------------------

    async def _end_leftovers(self) -> None:
        """End workers whose supervisor was killed: they end by themselves, unless they hang."""
        marks = load_state(self._settings.data_dir).workers
        deadline = monotonic() + LEFTOVER_SECONDS
        while alive := [mark for mark in marks if is_alive(mark)]:
            if monotonic() > deadline:
                _kill(alive)
            await asyncio.sleep(0.05)

    async def _shut_down(self) -> None:
        """Drain the workers, stop the database server, say so, let go of the directory."""
        if self._state.state != "stopped":
            self._publish("stopping")
        await self._stop_workers()
        if self._postgres is not None:
            await self._postgres.stop("fast")
        if self._held is not None:
            self._held.release()
        save_state(self._settings.data_dir, State(ca_file=self._state.ca_file))
        self._lock.release()

    async def _stop_workers(self) -> None:
        running = [process for process in self._workers.values() if process.returncode is None]
        for process in running:
            with suppress(ProcessLookupError):
                process.terminate()
        limit = self._settings.drain_seconds + STOP_MARGIN_SECONDS
        try:
            async with asyncio.timeout(limit):
                await asyncio.gather(*(process.wait() for process in running))
        except TimeoutError:
            for process in running:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


EMBEDDED_DATABASES = {
    "control_dsn": CONTROL_DATABASE,
    "dataverse_dsn": DATAVERSE_DATABASE,
    "finops_dsn": FINOPS_DATABASE,
}


def _get(url: str, token: str, context: ssl.SSLContext) -> tuple[int, str]:
    """Status and beginning of what an HTTPS address answers."""
    address = urlsplit(url)
    connection = http.client.HTTPSConnection(
        address.hostname or "", address.port, timeout=FIRST_ANSWER_SECONDS, context=context
    )
    try:
        connection.request("GET", address.path, headers={"authorization": f"Bearer {token}"})
        response = connection.getresponse()
        return response.status, response.read(500).decode(errors="replace")
    finally:
        connection.close()


def _kill(marks: list[ProcessMark]) -> None:
    for mark in marks:
        send_signal(mark, signal.SIGKILL)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error to show of several that came together."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run_detached(order: ServerOrder, report: Callable[[str], None]) -> None:
    supervisor = Supervisor(order.read_settings(), order.environment)
    stop_on_signals(supervisor)
    await supervisor.run(lambda state: report("ready"))


def stop_on_signals(supervisor: Supervisor) -> None:
    """SIGTERM, Ctrl-C and the end of the terminal stop the environment in good order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stop)


def main() -> None:
    """Entry point of a detached supervisor: it answers `ready`, or why not, and then has no terminal any more."""
    configure_logging()
    order = ServerOrder.read(sys.stdin.buffer.readline())

    def report(line: str) -> None:
        with suppress(BrokenPipeError):
            print(line, flush=True)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    try:
        asyncio.run(_run_detached(order, report))
    except Exception as error:
        if isinstance(error, IsthmusError):
            log.error("could not run", reason=error.message)
        else:
            log.exception("could not run")
        report(str(error) or type(error).__name__)
        sys.exit(CONFLICT_EXIT if isinstance(error, Conflict) else 1)


if __name__ == "__main__":
    main()
