"""One server process: an open environment behind HTTPS and HTTP.

It is started by the supervisor, which writes one line to its standard input (a `ServerOrder`) and then keeps that pipe
open: when the pipe ends the supervisor is gone, and so the worker goes too. The worker answers with one line on its
standard output, `ready` or why it could not start.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from isthmus.clock import monotonic
from isthmus.config import Settings
from isthmus.errors import IsthmusError
from isthmus.server.app import Application
from isthmus.server.authentication import Authenticator
from isthmus.server.environment import Environment
from isthmus.server.identity import load_identities
from isthmus.server.issuer import Issuer
from isthmus.server.log_output import configure_logging
from isthmus.server.order import ServerOrder
from isthmus.server.sockets import LOOPBACK, listen
from isthmus.server.tls import Certificate, load_certificate
from isthmus.server.tokens import Tokens, load_signing_key

ORPHAN_DRAIN_SECONDS = 2
KEEP_ALIVE_SECONDS = 75
CLOSE_SECONDS = 10


class _Listener(uvicorn.Server):
    """A uvicorn server that leaves signals to the worker, which runs two of them, and says when it listens."""

    def __init__(self, configuration: uvicorn.Config) -> None:
        super().__init__(configuration)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Worker:
    """Serves until it is told to stop or its supervisor is gone."""

    def __init__(self, settings: Settings, environment: type[Environment]) -> None:
        self._settings = settings
        self._environment_class = environment
        self._listeners: list[_Listener] = []
        self._application: Application | None = None

    async def run(self) -> None:
        """Open the environment, serve, drain, close it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop, self._settings.drain_seconds)
        # Ctrl-C reaches the whole process group; the supervisor decides what becomes of it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        environment = await self._environment_class.open(self._settings)
        try:
            self._listeners = self._build(environment)
            # The catalog and the modules stay for good: the garbage collector need not look at them again.
            gc.collect()
            gc.freeze()
            loop.add_reader(sys.stdin.fileno(), self._stop, ORPHAN_DRAIN_SECONDS)
            sockets = (
                listen(self._settings.host, self._settings.port),
                listen(LOOPBACK, self._settings.http_port),
            )
            await self._serve(sockets)
        finally:
            await asyncio.wait_for(environment.close(), CLOSE_SECONDS)

    async def _serve(self, sockets: tuple[socket.socket, ...]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for listener, listening in zip(self._listeners, sockets, strict=True):
                tasks.create_task(listener.serve(sockets=[listening]))
            for listener in self._listeners:
                await listener.listening.wait()
            _report("ready")

    def _build(self, environment: Environment) -> list[_Listener]:
        settings = self._settings
        identities = load_identities(settings)
        tokens = Tokens(load_signing_key(settings.data_dir), identities, settings.token_lifetime)
        authenticator = Authenticator(tokens, identities.first().principal() if settings.accept_mock_token else None)
        issuer = Issuer(settings, tokens)
        app = Application(settings, environment, authenticator, issuer.app, identities.tenant_id)
        self._application = app
        return [self._listener(app, load_certificate(settings)), self._listener(app, None)]

    def _listener(self, app: Application, certificate: Certificate | None) -> _Listener:
        return _Listener(
            uvicorn.Config(
                app,
                loop="none",
                http="httptools",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=2048,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=self._settings.drain_seconds,
                ssl_certfile=certificate.cert_file if certificate else None,
                ssl_keyfile=certificate.key_file if certificate else None,
            )
        )

    def _stop(self, drain_seconds: int) -> None:
        """Take no more connections and let running requests end, for so many seconds at most."""
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        if self._application is not None:
            self._application.draining.set()
        for listener in self._listeners:
            listener.config.timeout_graceful_shutdown = drain_seconds
            listener.should_exit = True
        if not self._listeners:
            # Nothing is served yet, so there is nothing to finish.
            os._exit(0)


def _report(line: str) -> None:
    """Tell the supervisor how it went; whatever else is printed goes to the log."""
    print(line, flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def main() -> None:
    """Entry point of a worker process."""
    import uvloop

    began = monotonic()
    configure_logging()
    order = ServerOrder.read(sys.stdin.buffer.readline())
    worker = Worker(order.read_settings(), order.load_environment())
    try:
        uvloop.run(worker.run())
    except IsthmusError as error:
        _report(error.message)
        sys.exit(1)
    except Exception as error:
        logging.getLogger("isthmus.worker").exception("worker failed after %.1f s", monotonic() - began)
        _report(f"{type(error).__name__}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
