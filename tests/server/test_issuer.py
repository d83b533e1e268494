"""The local issuer, asked by hand and by Microsoft's own client libraries."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.server.conftest import RunningEnvironment

from isthmus.server import device_codes
from isthmus.server.attempts import ALLOWED_FAILURES, FailedAttempts
from isthmus.server.device_codes import DeviceCode, DeviceCodes, TooManyPending

LOG_IN = """
import os, sys
from azure.identity import ClientSecretCredential
environment = os.environ
credential = ClientSecretCredential(
    environment["AZURE_TENANT_ID"], environment["AZURE_CLIENT_ID"], environment["AZURE_CLIENT_SECRET"]
)
print(credential.get_token(sys.argv[1] + "/.default").token)
"""
LOG_IN_TO_THE_TENANT = """
import os, sys
from azure.identity import ClientSecretCredential
credential = ClientSecretCredential(
    sys.argv[2], os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"], disable_instance_discovery=True
)
print(credential.get_token(sys.argv[1] + "/.default").token)
"""
LOG_IN_BY_DEVICE_CODE = """
import os, sys
from azure.identity import DeviceCodeCredential
credential = DeviceCodeCredential(
    tenant_id="adfs", prompt_callback=lambda page, code, expires: print(page, code, flush=True)
)
print(credential.get_token(sys.argv[1] + "/.default").token)
"""


def variables(data_dir: Path) -> dict[str, str]:
    """An otherwise empty environment with what `credentials.env` holds."""
    lines = (data_dir / "credentials.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines)
    return {"PATH": os.environ["PATH"], **{name: value.strip("'") for name, value in given.items()}}


def run(environment: RunningEnvironment, script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, env=variables(environment.data_dir), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def who(environment: RunningEnvironment, token: str, path: str = "/api/data/v9.2/") -> httpx.Response:
    async with environment.client() as client:
        return await client.get(path, headers={"authorization": f"Bearer {token}"})


@pytest.mark.client
async def test_azure_identity_logs_in_by_environment_variables_alone(shared: RunningEnvironment) -> None:
    token = run(shared, LOG_IN, shared.state.base_url)
    assert (await who(shared, token)).json()["object_id"] == shared.credentials.client_id
    assert (await who(shared, token, "/data")).status_code == 200


@pytest.mark.client
async def test_azure_identity_logs_in_to_the_tenant_by_its_id(shared: RunningEnvironment) -> None:
    address = shared.state.base_url.replace("localhost", "127.0.0.1")
    token = run(shared, LOG_IN_TO_THE_TENANT, address, shared.credentials.tenant_id)
    assert (await who(shared, token)).status_code == 200


@pytest.mark.client
async def test_azure_identity_signs_a_person_in_by_device_code(shared: RunningEnvironment) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOG_IN_BY_DEVICE_CODE, shared.state.base_url],
        env=variables(shared.data_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        page, user_code = process.stdout.readline().split()
        async with shared.client() as client:
            shown = await client.get(page)
            assert "<form" in shown.text and "script" not in shown.text
            form = {"user_code": user_code.lower(), "name": shared.credentials.user_name, "password": "wrong"}
            assert (await client.post(page, data=form)).status_code == 401
            form["password"] = shared.credentials.user_password
            approved = await client.post(page, data=form)
            assert approved.status_code == 200 and "Approved" in approved.text
            assert (await client.post(page, data=form)).status_code == 400
        token, errors = process.stdout.readline().strip(), process.stderr.read()
    assert process.returncode == 0, errors
    answer = (await who(shared, token)).json()
    assert (answer["kind"], answer["caller"]) == ("user", shared.credentials.user_name)


async def test_discovery_speaks_with_the_address_the_client_used(shared: RunningEnvironment) -> None:
    credentials = shared.credentials
    for base in (shared.state.base_url, shared.state.base_url.replace("localhost", "127.0.0.1"), shared.state.http_url):
        for tenant in (credentials.tenant_id, "common", "adfs"):
            async with shared.client() as client:
                found = (await client.get(f"{base}/{tenant}/v2.0/.well-known/openid-configuration")).json()
                keys = (await client.get(found["jwks_uri"])).json()
            assert found["issuer"] == f"{base}/{credentials.tenant_id}/v2.0"
            assert found["token_endpoint"] == f"{base}/{tenant}/oauth2/v2.0/token"
            assert all("d" not in key for key in keys["keys"])


async def test_tokens_verify_with_the_published_keys(shared: RunningEnvironment) -> None:
    async with shared.client() as client:
        keys = KeySet.import_key_set((await client.get("/common/discovery/v2.0/keys")).json())
    claims = jwt.decode(await shared.token(), keys, algorithms=["RS256"]).claims
    assert claims["aud"] == shared.state.base_url
    assert claims["appid"] == shared.credentials.client_id
    assert claims["tid"] == shared.credentials.tenant_id
    assert 0 < claims["exp"] - time.time() <= 3600


async def test_tools_of_dual_write_get_tokens_for_their_own_resource(shared: RunningEnvironment) -> None:
    token = await shared.token("https://IntegratorApp.com/.default")
    async with shared.client() as client:
        answer = await client.get("/api/DualWriteManagement/1.0/Version", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200


async def test_instance_discovery_names_this_host(shared: RunningEnvironment) -> None:
    async with shared.client() as client:
        found = (await client.get("/common/discovery/instance?api-version=1.1&authorization_endpoint=x")).json()
    assert found["tenant_discovery_endpoint"].startswith(shared.state.base_url)


async def test_the_secret_may_come_by_basic_authentication(shared: RunningEnvironment) -> None:
    pair = base64.b64encode(f"{shared.credentials.client_id}:{shared.credentials.client_secret}".encode()).decode()
    form = {"grant_type": "client_credentials", "scope": f"{shared.state.http_url}//.default"}
    async with shared.client() as client:
        answer = await client.post("/common/oauth2/v2.0/token", data=form, headers={"authorization": f"Basic {pair}"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert (await who(shared, answer.json()["access_token"])).status_code == 200


@pytest.mark.parametrize(
    ("form", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": ""}, 401, "invalid_client", 7000215),
        ({"client_id": "7d4f0f0e-0000-4000-8000-000000000000"}, 401, "invalid_client", 7000215),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"scope": ""}, 400, "invalid_scope", 70011),
        ({"scope": "openid"}, 400, "invalid_scope", 70011),
        ({"scope": "https://elsewhere.example/.default"}, 400, "invalid_resource", 500011),
        ({"scope": "https://localhost:1/.default"}, 400, "invalid_resource", 500011),
        ({"tenant": "7d4f0f0e-0000-4000-8000-000000000000"}, 400, "invalid_tenant", 90002),
    ],
)
async def test_refusals_have_entras_shape(
    shared: RunningEnvironment, form: dict[str, str], status: int, error: str, number: int
) -> None:
    answer = await shared.ask_token(**{"scope": f"{shared.state.base_url}/.default", **form})
    assert (answer["status"], answer["error"], answer["error_codes"]) == (status, error, [number])
    assert answer["error_description"].startswith(f"AADSTS{number}: ")
    assert "access_token" not in answer


@pytest.mark.parametrize(("half", "other"), [("dataverse_url", "/data"), ("finops_url", "/api/data/v9.2/")])
async def test_a_scope_with_a_path_is_for_one_half(shared: RunningEnvironment, half: str, other: str) -> None:
    token = await shared.token(f"{getattr(shared.state, half)}/.default")
    assert (await who(shared, token, other)).status_code == 401
    assert (await who(shared, token, f"{getattr(shared.state, half)}/")).status_code == 200


async def test_a_form_that_is_too_large_is_refused(shared: RunningEnvironment) -> None:
    answer = await shared.ask_token(scope="x" * 70_000)
    assert answer["status"] == 413


async def test_the_page_shows_nothing_as_markup(shared: RunningEnvironment) -> None:
    async with shared.client() as client:
        page = await client.get('/devicelogin?user_code="><script>x</script>')
    assert not re.search("<script", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_guessing_is_slowed_down_per_account_and_address() -> None:
    attempts = FailedAttempts()
    for _ in range(ALLOWED_FAILURES):
        assert attempts.seconds_to_wait("someone", "192.0.2.1") == 0
        attempts.failed("Someone", "192.0.2.1")
    assert 1 <= attempts.seconds_to_wait("someone", "192.0.2.1") <= 60
    assert attempts.seconds_to_wait("someone", "192.0.2.2") == 0
    assert attempts.seconds_to_wait("another", "192.0.2.1") == 0


def test_a_device_code_works_once_and_for_its_client_only(tmp_path: Path) -> None:
    codes = DeviceCodes(tmp_path)
    device_code, user_code = codes.begin("client", "https://localhost", "scope")
    assert codes.redeem(device_code, "client") == "pending"
    assert not codes.approve("WRONG-ONE", "user")
    assert codes.approve(f" {user_code[:4].lower()}-{user_code[4:]}", "user")
    assert not codes.approve(user_code, "another user")
    assert codes.redeem(device_code, "another client") == "unknown"
    assert codes.redeem(device_code[:-1] + "!", "client") == "unknown"
    assert codes.redeem("../" + device_code, "client") == "unknown"
    found = DeviceCodes(tmp_path).redeem(device_code, "client")
    assert isinstance(found, DeviceCode) and found.approved_by == "user"
    assert codes.redeem(device_code, "client") == "unknown"


def test_device_codes_expire_and_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = DeviceCodes(tmp_path)
    monkeypatch.setattr(device_codes, "LIFETIME_SECONDS", -1)
    device_code, user_code = codes.begin("client", "https://localhost", "scope")
    assert not codes.approve(user_code, "user")
    assert codes.redeem(device_code, "client") == "expired"
    monkeypatch.setattr(device_codes, "LIFETIME_SECONDS", 900)
    monkeypatch.setattr(device_codes, "MOST_PENDING", 2)
    codes.begin("client", "https://localhost", "scope")
    assert codes.redeem(device_code, "client") == "unknown"
    codes.begin("client", "https://localhost", "scope")
    with pytest.raises(TooManyPending):
        codes.begin("client", "https://localhost", "scope")
