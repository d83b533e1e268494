"""What runs on a data directory: the lock that only one supervisor can hold, and the state file that says the rest.

The lock is the kernel's (flock), so it ends with its holder, however that ended; nothing can go stale. A process is
named by its number and the moment it was started, because numbers are used again.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from isthmus.clock import monotonic
from isthmus.errors import Conflict
from isthmus.server.private_files import write_private

ACQUIRE_SECONDS = 1.0

Running = Literal["starting", "running", "stopping", "stopped"]


class ProcessMark(msgspec.Struct, frozen=True):
    """One process: its number and when it was started, in the kernel's own count."""

    pid: int
    started: float


class State(msgspec.Struct, frozen=True):
    """What one data directory runs. The addresses are empty, and there are no processes, when it is stopped."""

    state: Running = "stopped"
    base_url: str = ""
    http_url: str = ""
    dataverse_url: str = ""
    finops_url: str = ""
    ca_file: str = ""
    supervisor: ProcessMark | None = None
    workers: tuple[ProcessMark, ...] = ()

    @property
    def marks(self) -> tuple[ProcessMark, ...]:
        """All server processes, the supervisor first."""
        return (self.supervisor, *self.workers) if self.supervisor else self.workers


class DataDirectoryLock:
    """Held by the supervisor for as long as it runs."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "lock"
        self._data_dir = data_dir
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises Conflict when a supervisor runs on this directory already."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _lock_within(descriptor, ACQUIRE_SECONDS):
            os.close(descriptor)
            running = load_state(self._data_dir)
            pid = f" (process {running.supervisor.pid})" if running.supervisor else ""
            raise Conflict(
                f"an environment runs on {self._data_dir} already{pid}: use it, stop it with isthmus down, or choose "
                "another --data-dir.",
                code="already_running",
            )
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next supervisor in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _lock_within(descriptor: int, seconds: float) -> bool:
    """Try for the lock. Somebody who asks for the state, or who was killed just now, holds it for an instant yet."""
    deadline = monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def is_locked(data_dir: Path) -> bool:
    """Whether a supervisor runs on this directory. Takes nothing away from one that is just starting."""
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # A shared lock is refused exactly while a supervisor holds its own.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def save_state(data_dir: Path, state: State) -> None:
    """Write the state file in one step."""
    write_private(data_dir / "state.json", msgspec.json.encode(state))


def load_state(data_dir: Path) -> State:
    """The state file as it stands, whether or not its processes are still there."""
    try:
        return msgspec.json.decode((data_dir / "state.json").read_bytes(), type=State)
    except (FileNotFoundError, msgspec.DecodeError):
        return State()


def current_state(data_dir: Path) -> State:
    """What runs now: the state file, held against the lock and the processes themselves."""
    state = load_state(data_dir)
    alive = tuple(mark for mark in state.workers if is_alive(mark))
    if not is_locked(data_dir):
        return State(ca_file=state.ca_file, workers=alive)
    if state.supervisor is None or not is_alive(state.supervisor):
        # A new supervisor holds the lock but has not yet replaced its predecessor's file.
        return State(state="starting", ca_file=state.ca_file)
    return msgspec.structs.replace(state, workers=alive)


def mark_of(pid: int) -> ProcessMark:
    """The mark of a process that runs now. Raises psutil.NoSuchProcess."""
    return ProcessMark(pid, _started(pid))


def is_alive(mark: ProcessMark) -> bool:
    """Whether this very process still runs (another one with its number doesn't count)."""
    try:
        return _started(mark.pid) == mark.started and psutil.Process(mark.pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def send_signal(mark: ProcessMark, number: signal.Signals) -> None:
    """Signal this very process, if it still runs."""
    if is_alive(mark):
        with suppress(ProcessLookupError):
            os.kill(mark.pid, number)


def _started(pid: int) -> float:
    """When a process was started, in clock ticks since boot where the kernel says so: that never changes, while the
    wall time of it moves whenever the clock is set."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return float(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        return float(psutil.Process(pid).create_time())
