"""Which path belongs to which half, and whose word is believed about scheme and host."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from isthmus.apps.principal import Principal
from isthmus.config import Settings
from isthmus.server.app import Application, place_of
from isthmus.server.authentication import Authenticator
from isthmus.server.identity import load_identities
from isthmus.server.issuer import Issuer
from isthmus.server.tokens import Tokens, load_signing_key
from isthmus.server.wire import ASGIApp, Receive, Scope, Send, answer, base_url


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/api/data/v9.2/accounts", "dataverse"),
        ("/API/Data/V9.2/accounts", "dataverse"),
        ("/api/data", "dataverse"),
        ("/data", "finops"),
        ("/data/", "finops"),
        ("/DATA/CustomersV3", "finops"),
        ("/metadata/DataEntities", "finops"),
        ("/Metadata", "finops"),
        ("/api/isthmus/v1/table-maps", "management"),
        ("/API/Isthmus", "management"),
        ("/api/DualWriteManagement/1.0/Version", "management_calls"),
        ("/api/ConnectionSet/x", "management_calls"),
        ("/api/isthmusx", None),
        ("/isthmus/v1", None),
        ("/database", None),
        ("/metadatas", None),
        ("/api/datax", None),
        ("/api", None),
        ("/", None),
        ("/health", None),
        ("/common/discovery/instance", None),
    ],
)
def test_paths_belong_to_places(path: str, place: str | None) -> None:
    assert place_of(path) == place


class Echo:
    """An environment whose halves say how they were addressed."""

    @classmethod
    async def migrate(cls, settings: Settings, principals: Iterable[Principal]) -> None:
        pass

    @classmethod
    async def open(cls, settings: Settings) -> Echo:
        return cls()

    async def close(self) -> None:
        pass

    async def ready(self) -> bool:
        return False

    @property
    def dataverse(self) -> ASGIApp:
        return self.half

    @property
    def finops(self) -> ASGIApp:
        return self.half

    @property
    def management(self) -> ASGIApp:
        return self.half

    @property
    def management_calls(self) -> ASGIApp:
        return self.half

    async def half(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, 200, base_url(scope).encode(), [])


def application(settings: Settings, resource: str) -> tuple[Application, str]:
    identities = load_identities(settings)
    tokens = Tokens(load_signing_key(settings.data_dir), identities, 60)
    app = Application(settings, Echo(), Authenticator(tokens), Issuer(settings, tokens).app, identities.tenant_id)
    return app, tokens.issue(identities.first(), resource, "https://localhost:7443")


async def asked(
    settings: Settings, path: str = "/data", resource: str = "https://localhost:7443", **headers: str
) -> httpx.Response:
    app, token = application(settings, resource)
    transport = httpx.ASGITransport(app, client=("192.0.2.1", 1))
    given: dict[str, Any] = {"authorization": f"Bearer {token}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    async with httpx.AsyncClient(transport=transport, base_url="http://inside:1") as client:
        return await client.get(path, headers=given)


@pytest.mark.parametrize("path", ["/api/isthmus/v1/table-maps", "/api/DualWriteManagement/1.0/Version"])
async def test_management_needs_a_token_for_both_halves(tmp_path: Path, path: str) -> None:
    settings = Settings(data_dir=tmp_path)
    assert (await asked(settings, path)).status_code == 200
    for resource in ("https://localhost:7443/data", "https://localhost:7443/api/data"):
        refused = await asked(settings, path, resource=resource)
        assert refused.status_code == 401
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["www-authenticate"].startswith("Bearer ")
        assert (refused.json()["code"], refused.json()["status"]) == ("unauthenticated", 401)
        assert "both" in refused.json()["detail"]


async def test_a_trusted_proxy_says_what_the_client_used(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, trusted_proxies=("192.0.2.1",))
    found = await asked(settings, x_forwarded_proto="https", x_forwarded_host="crm.example.com, inner")
    assert found.text == "https://crm.example.com"
    assert (await asked(settings)).text == "http://inside:1"
    assert (await asked(settings, x_forwarded_proto="gopher")).text == "http://inside:1"


async def test_nobody_else_is_believed(tmp_path: Path) -> None:
    for proxies in ((), ("192.0.2.2",)):
        settings = Settings(data_dir=tmp_path, trusted_proxies=proxies)
        found = await asked(settings, x_forwarded_proto="https", x_forwarded_host="evil.example.com")
        assert found.text == "http://inside:1"


@pytest.mark.parametrize("host", ["a b", "x/../y", "user@crm.example.com", 'x","value":"', "crm:1:2", "crm:port", ""])
async def test_a_host_that_is_none_is_refused(tmp_path: Path, host: str) -> None:
    found = await asked(Settings(data_dir=tmp_path), host=host)
    assert found.status_code == 400
    assert "Host header" in found.json()["error"]["message"]
    proxied = Settings(data_dir=tmp_path, trusted_proxies=("192.0.2.1",))
    assert (await asked(proxied, x_forwarded_host=host or "/")).status_code == 400


@pytest.mark.parametrize("host", ["crm.example.com", "localhost:7443", "127.0.0.1:80", "[::1]:443", "my_host"])
async def test_a_host_is_taken_as_the_client_wrote_it(tmp_path: Path, host: str) -> None:
    assert (await asked(Settings(data_dir=tmp_path), host=host)).text == f"http://{host}"


async def test_an_environment_that_is_not_ready_is_not_healthy(tmp_path: Path) -> None:
    found = await asked(Settings(data_dir=tmp_path), "/health")
    assert (found.status_code, found.json()) == (503, {"status": "not ready"})


async def test_other_addresses_are_not_found(tmp_path: Path) -> None:
    assert (await asked(Settings(data_dir=tmp_path), "/nowhere")).status_code == 404
