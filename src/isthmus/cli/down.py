"""`isthmus down`: stop what a data directory started."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable

from isthmus import config
from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.clock import monotonic
from isthmus.config import Settings
from isthmus.errors import Unavailable
from isthmus.server.state import current_state, is_alive, is_locked, send_signal

STARTING_SECONDS = 10
SUPERVISOR_SECONDS = 60
WORKER_SECONDS = 10


def down(*, data_dir: DataDir = None) -> int:
    """Stop both halves and their databases. Requests that run are let finish (setting drain_seconds).

    Only what this data directory started is stopped, also when its supervisor was killed before.
    """
    settings = config.load({"data_dir": data_dir})
    if not settings.data_dir.exists():
        print(f"Nothing runs: there is no {settings.data_dir}.", file=sys.stderr)
        return exit_codes.OK
    print("Stopped." if stop(settings) else f"Nothing runs on {settings.data_dir}.", file=sys.stderr)
    return exit_codes.OK


def stop(settings: Settings) -> bool:
    """Stop everything that this data directory started; False when nothing ran. Raises Unavailable when it won't."""
    ran = _stop_supervisor(settings)
    return _stop_leftovers(settings) or ran


def _stop_supervisor(settings: Settings) -> bool:
    """Ask the supervisor to stop everything, and wait until it has. False when there is none."""
    if not is_locked(settings.data_dir):
        return False
    # One that has only just started says who it is in a moment.
    _wait(
        lambda: current_state(settings.data_dir).supervisor is not None or not is_locked(settings.data_dir),
        STARTING_SECONDS,
    )
    supervisor = current_state(settings.data_dir).supervisor
    if supervisor is None:
        raise Unavailable(f"something holds {settings.data_dir / 'lock'}, but not a supervisor of ours.")
    send_signal(supervisor, signal.SIGTERM)
    limit = settings.drain_seconds + SUPERVISOR_SECONDS
    if not _wait(lambda: not is_alive(supervisor), limit):
        raise Unavailable(f"process {supervisor.pid} did not stop within {limit} seconds; its log says more.")
    return True


def _stop_leftovers(settings: Settings) -> bool:
    """Stop workers and the database server of a supervisor that was killed. False when there are none."""
    workers = current_state(settings.data_dir).workers
    for worker in workers:
        send_signal(worker, signal.SIGTERM)
    if not _wait(lambda: not any(is_alive(worker) for worker in workers), WORKER_SECONDS):
        for worker in workers:
            send_signal(worker, signal.SIGKILL)
    return asyncio.run(_stop_postgres(settings)) or bool(workers)


async def _stop_postgres(settings: Settings) -> bool:
    directory = settings.data_dir / "postgresql"
    if not directory.exists():
        return False
    from isthmus.store.embedded import EmbeddedPostgres

    postgres = EmbeddedPostgres(directory)
    if not postgres.running():
        return False
    await postgres.stop("fast")
    return True


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is so; False when it isn't after so many seconds."""
    deadline = monotonic() + seconds
    while not done():
        if monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
