"""Running environments for the tests of the server, built on the fake environment beside this file."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from isthmus import config
from isthmus.cli.up import start_detached
from isthmus.server.credentials import Credentials, load_credentials
from isthmus.server.state import State, current_state
from isthmus.store.embedded import EmbeddedPostgres

FAKE_ENVIRONMENT = "tests.server.fake_environment:Environment"


class RunningEnvironment:
    """One data directory with an environment that may be started, stopped and killed."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def start(self, **flags: Any) -> State:
        return start_detached(config.load({"data_dir": self.data_dir, "port": 0, **flags}, {}), FAKE_ENVIRONMENT)

    def isthmus(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line on this data directory."""
        command = [sys.executable, "-c", "from isthmus.cli import main; main()", *arguments]
        command += ["--data-dir", str(self.data_dir)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)

    @property
    def state(self) -> State:
        return current_state(self.data_dir)

    @property
    def credentials(self) -> Credentials:
        found = load_credentials(config.Settings(data_dir=self.data_dir))
        assert found is not None
        return found

    @property
    def postgres(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(self.data_dir / "postgresql")

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A client that trusts the development certificate and no other."""
        context = ssl.create_default_context(cafile=str(self.data_dir / "tls" / "ca.pem"))
        return httpx.AsyncClient(base_url=self.state.base_url, verify=context, trust_env=False, **options)

    async def token(self, scope: str | None = None) -> str:
        """An access token for the development application."""
        answer = await self.ask_token(scope=scope or f"{self.state.base_url}/.default")
        return str(answer["access_token"])

    async def ask_token(self, tenant: str = "adfs", **form: str) -> dict[str, Any]:
        """What the token endpoint says to the development application."""
        given = {
            "grant_type": "client_credentials",
            "client_id": self.credentials.client_id,
            "client_secret": self.credentials.client_secret,
        }
        async with self.client() as client:
            response = await client.post(f"/{tenant}/oauth2/v2.0/token", data={**given, **form})
        document: dict[str, Any] = msgspec.json.decode(response.content)
        return {**document, "status": response.status_code}


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty data directory with a short path that the database's account can be let into."""
    directory = Path(tempfile.mkdtemp(prefix="isthmus-test-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def environment(data_dir: Path) -> AsyncIterator[RunningEnvironment]:
    """A data directory on which nothing runs yet; whatever a test starts there is stopped after it."""
    running = RunningEnvironment(data_dir)
    try:
        yield running
    finally:
        running.isthmus("down")
        await running.postgres.remove()


@pytest.fixture(scope="session")
async def shared() -> AsyncIterator[RunningEnvironment]:
    """One environment with two workers, for tests that neither stop nor kill anything."""
    running = RunningEnvironment(Path(tempfile.mkdtemp(prefix="isthmus-test-")))
    try:
        running.start(workers=2)
        yield running
        assert running.isthmus("down").returncode == 0
    finally:
        await running.postgres.remove()
        shutil.rmtree(running.data_dir)
