"""Files in the data directory that only their owner may read: keys, secrets, state."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from isthmus.errors import Rejected, Unavailable


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 0600 in one step: a reader sees the old content or the new, also after a crash."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    staging.replace(path)


def read_private(path: Path) -> bytes:
    """Read a file that holds secrets; Rejected when others may read it too."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Rejected(
            f"{path} holds secrets but has mode {mode:04o}: others may read it. Run chmod 600 {path}.",
            code="secret_file_mode",
        )
    return path.read_bytes()


def prepare_data_dir(data_dir: Path) -> None:
    """Create the data directory for its owner alone; root lets the database's account through it (search only)."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"The data directory {data_dir} can't be created: {error.strerror}.") from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise Unavailable(f"The data directory {data_dir} can't be written: choose another one with --data-dir.")
    if os.geteuid() == 0:
        data_dir.chmod(data_dir.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
