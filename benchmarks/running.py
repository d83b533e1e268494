"""A running environment for a benchmark: started by the command that users start it with, in a directory of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec


class Running(msgspec.Struct):
    """Where the environment answers, and the token that opens both halves."""

    directory: Path
    host: str
    http_port: int
    https_url: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        return {
            "Host": f"{self.host}:{self.http_port}",
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }


def isthmus(*arguments: str) -> str:
    """Run a command of ours; its standard output."""
    completed = subprocess.run(
        [sys.executable, "-m", "isthmus", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return completed.stdout.strip()


@contextmanager
def running(workers: int) -> Iterator[Running]:
    """An environment with that many server processes, stopped and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="isthb", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        isthmus("up", "--detach", "--data-dir", name, "--port", "0", "--workers", str(workers))
        try:
            status = json.loads(isthmus("status", "--json", "--data-dir", name))
            host, _, port = status["http_url"].partition("//")[2].partition("/")[0].partition(":")
            yield Running(directory, host, int(port), status["dataverse_url"], isthmus("token", "--data-dir", name))
        finally:
            isthmus("down", "--data-dir", name)
