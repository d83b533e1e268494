"""One running environment for tests with clients that others wrote, and their way to log in to it."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import msgspec
import pytest
from azure.identity import ClientSecretCredential
from PowerPlatform.Dataverse.client import DataverseClient

from isthmus import config
from isthmus.cli.demo_log_in import LogIn
from isthmus.cli.down import down
from isthmus.cli.up import start_detached
from isthmus.config import Settings
from isthmus.server.state import State

COMPANY = "sdk"


class RunningEnvironment(msgspec.Struct, frozen=True):
    """An environment as its users know it: a data directory, and what `isthmus status` and `isthmus token` say."""

    settings: Settings
    state: State
    log_in: LogIn


@pytest.fixture(scope="session")
def running_environment() -> Iterator[RunningEnvironment]:
    """`isthmus up --detach` on a data directory of its own, once a session."""
    data_dir = Path(tempfile.mkdtemp(prefix="isthmus-client-"))
    settings = config.load({"data_dir": data_dir, "port": 0}, {})
    try:
        state = start_detached(settings)
        yield RunningEnvironment(settings, state, LogIn.to(state, settings))
    finally:
        down(data_dir=data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def variables(running_environment: RunningEnvironment) -> dict[str, str]:
    """The variables of credentials.env, with which Microsoft's clients log in."""
    lines = (running_environment.settings.data_dir / "credentials.env").read_text().splitlines()
    return dict(shlex.split(line)[0].split("=", 1) for line in lines)


@pytest.fixture
def client(
    running_environment: RunningEnvironment, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[DataverseClient]:
    """Microsoft's SDK, logged in by environment variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with (
        ClientSecretCredential(
            os.environ["AZURE_TENANT_ID"], os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"]
        ) as credential,
        DataverseClient(running_environment.state.base_url, credential) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def finops(running_environment: RunningEnvironment) -> Iterator[httpx.Client]:
    """A plain OData client of the finance and operations half."""
    with running_environment.log_in.finops() as client:
        yield client


@pytest.fixture
def company(finops: httpx.Client, client: DataverseClient) -> UUID:
    """The id of a company, made as a legal entity of finance and operations and carried over by dual-write."""
    answer = finops.post("/LegalEntities", json={"LegalEntityId": COMPANY, "Name": "Company of the SDK tests"})
    assert answer.status_code in (201, 409), answer.text
    found = client.records.list("cdm_company", filter=f"cdm_companycode eq '{COMPANY}'").first()
    assert found is not None
    return UUID(found["cdm_companyid"])
