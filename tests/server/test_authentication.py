"""Nobody reaches a half without a token that is valid, not expired, of this tenant, and for that half."""

from __future__ import annotations

import base64
import hmac
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from tests.server.conftest import RunningEnvironment

from isthmus.config import Settings
from isthmus.server.authentication import REMEMBERED_TOKENS, Authenticator, Unauthenticated
from isthmus.server.identity import BOTH_HALVES, Identities, load_identities
from isthmus.server.tokens import Tokens, load_signing_key

BASE = "https://localhost:7443"


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    return load_identities(Settings(data_dir=tmp_path_factory.mktemp("identity")))


@pytest.fixture(scope="module")
def tokens(identities: Identities, tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens(load_signing_key(tmp_path_factory.mktemp("keys")), identities, 3600)


def request(authorization: str | None, address: str = "127.0.0.1") -> dict[str, Any]:
    headers = [(b"host", b"localhost:7443")]
    if authorization is not None:
        headers.append((b"authorization", authorization.encode()))
    return {"type": "http", "headers": headers, "client": (address, 50000)}


def issue(tokens: Tokens, resource: str = BASE) -> str:
    return tokens.issue(tokens.identities.applications[0], resource, f"{BASE}/x/v2.0")


def forge(tokens: Tokens, key: RSAKey | None = None, **changes: Any) -> str:
    """A token like ours, with some claims changed (None = left out), signed by `key`."""
    claims = dict(jwt.decode(issue(tokens), tokens.key, algorithms=["RS256"]).claims) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"alg": "RS256", "kid": tokens.key.kid}, claims, key or tokens.key)


def signed_with_the_public_key(tokens: Tokens) -> str:
    """The classic confusion: a symmetric signature whose secret is the public key that everybody knows."""
    payload = forge(tokens).split(".")[1]
    signed = b".".join((base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"="), payload.encode()))
    signature = hmac.digest(tokens.key.as_pem(private=False), signed, "sha256")
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def test_a_token_says_who_its_bearer_is(tokens: Tokens) -> None:
    application, user = tokens.identities.applications[0], tokens.identities.users[0]
    authenticator = Authenticator(tokens)
    caller = authenticator.authenticate(request(f"Bearer {issue(tokens)}"), "dataverse")
    assert (caller.kind, caller.object_id, caller.name) == ("application", application.client_id, application.name)
    assert caller.audiences == BOTH_HALVES
    assert caller.expires_at == pytest.approx(time.time() + 3600, abs=5)
    person = authenticator.authenticate(request(f"bearer  {tokens.issue(user, BASE, BASE)}"), "finops")
    assert (person.kind, person.object_id, person.name) == ("user", user.object_id, user.name)


@pytest.mark.parametrize(
    ("resource", "halves"),
    [
        (f"{BASE}/api/data", {"dataverse"}),
        (f"{BASE}/api/data/v9.2/", {"dataverse"}),
        (f"{BASE}/data", {"finops"}),
        (f"{BASE}/", {"dataverse", "finops"}),
    ],
)
def test_a_token_opens_only_the_halves_it_was_issued_for(tokens: Tokens, resource: str, halves: set[str]) -> None:
    authenticator = Authenticator(tokens)
    for half in ("dataverse", "finops"):
        # Twice: the second time it is remembered.
        for _ in range(2):
            if half in halves:
                authenticator.authenticate(request(f"Bearer {issue(tokens, resource)}"), half)
            else:
                with pytest.raises(Unauthenticated, match="other half"):
                    authenticator.authenticate(request(f"Bearer {issue(tokens, resource)}"), half)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic dTpw", "Bearer a.b.c", "Bearer é", "Bearer " + "a" * 20_000],
)
def test_what_is_no_token_is_refused(tokens: Tokens, authorization: str | None) -> None:
    with pytest.raises(Unauthenticated):
        Authenticator(tokens).authenticate(request(authorization), "dataverse")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": int(time.time()) - 1}, "expired"),
        ({"exp": None}, "not an access token"),
        ({"nbf": int(time.time()) + 3600}, "not valid yet"),
        ({"tid": "7d4f0f0e-0000-4000-8000-000000000000"}, "another tenant"),
        ({"aud": f"{BASE}/elsewhere"}, "neither half"),
        ({"aud": [BASE]}, "not an access token"),
        ({"oid": "7d4f0f0e-0000-4000-8000-000000000000"}, "may not log in"),
        ({"idtyp": "user"}, "may not log in"),
        ({"idtyp": None}, "not an access token"),
    ],
)
def test_a_token_with_other_claims_is_refused(tokens: Tokens, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unauthenticated, match=reason):
        Authenticator(tokens).authenticate(request(f"Bearer {forge(tokens, **changes)}"), "dataverse")


def test_a_token_that_somebody_else_signed_is_refused(tokens: Tokens) -> None:
    unsigned = forge(tokens).rpartition(".")[0] + "."
    for token in (forge(tokens, RSAKey.generate_key(2048)), unsigned, signed_with_the_public_key(tokens)):
        with pytest.raises(Unauthenticated, match="not one that this environment issued"):
            Authenticator(tokens).authenticate(request(f"Bearer {token}"), "dataverse")


def test_a_remembered_token_still_expires(identities: Identities, tokens: Tokens) -> None:
    short = Tokens(tokens.key, identities, 1)
    authenticator = Authenticator(short)
    header = f"Bearer {issue(short)}"
    authenticator.authenticate(request(header), "dataverse")
    time.sleep(1.1)
    with pytest.raises(Unauthenticated, match="expired"):
        authenticator.authenticate(request(header), "dataverse")


def test_a_remembered_token_is_not_verified_again(tokens: Tokens) -> None:
    authenticator = Authenticator(tokens)
    header = f"Bearer {issue(tokens)}"
    first = authenticator.authenticate(request(header), "dataverse")
    assert authenticator.authenticate(request(header), "dataverse") is first


def test_refused_tokens_push_no_others_out(tokens: Tokens) -> None:
    authenticator = Authenticator(tokens)
    header = f"Bearer {issue(tokens)}"
    first = authenticator.authenticate(request(header), "dataverse")
    for number in range(REMEMBERED_TOKENS + 1):
        with pytest.raises(Unauthenticated):
            authenticator.authenticate(request(f"Bearer {number}"), "dataverse")
    assert authenticator.authenticate(request(header), "dataverse") is first


def test_somebody_who_was_removed_gets_in_no_more(identities: Identities, tokens: Tokens) -> None:
    without = msgspec.structs.replace(identities, applications=())
    with pytest.raises(Unauthenticated, match="may not log in"):
        Authenticator(Tokens(tokens.key, without, 3600)).authenticate(request(f"Bearer {issue(tokens)}"), "finops")


def test_the_mock_token_needs_the_setting_and_loopback(tokens: Tokens) -> None:
    mock = "Bearer mock-token-for-localhost"
    with pytest.raises(Unauthenticated, match="accept_mock_token"):
        Authenticator(tokens).authenticate(request(mock), "finops")
    accepting = Authenticator(tokens, tokens.identities.first().principal())
    assert accepting.authenticate(request(mock), "finops").name == tokens.identities.applications[0].name
    for address in ("192.0.2.7", "", "::ffff:192.0.2.7"):
        with pytest.raises(Unauthenticated):
            accepting.authenticate(request(mock, address), "finops")


@pytest.mark.parametrize(
    "path", ["/api/data/v9.2/", "/API/data/v9.2/accounts", "/api/data", "/data", "/Data/CustomersV3"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"])
async def test_no_address_of_a_half_answers_anonymously(shared: RunningEnvironment, path: str, method: str) -> None:
    async with shared.client() as client:
        response = await client.request(method, path)
    assert response.status_code == 401
    challenge = response.headers["www-authenticate"]
    assert challenge.startswith(f"Bearer authorization_uri={shared.state.base_url}/{shared.credentials.tenant_id}/")
    assert challenge.endswith(f"resource_id={shared.state.base_url}/")


async def test_a_refusal_has_the_shape_of_its_half(shared: RunningEnvironment) -> None:
    async with shared.client(headers={"authorization": "Bearer nonsense"}) as client:
        dataverse = await client.get("/api/data/v9.2/accounts")
        finops = await client.get("/metadata/DataEntities")
    assert dataverse.json()["error"]["code"].startswith("0x")
    assert dataverse.headers["x-ms-service-request-id"]
    assert finops.json()["error"]["code"] == ""
    assert "not accepted" in finops.json()["error"]["message"]


async def test_the_caller_reaches_the_half(shared: RunningEnvironment) -> None:
    headers = {"authorization": f"Bearer {await shared.token()}"}
    async with shared.client(headers=headers) as client:
        for path, half in (("/api/data/v9.2/", "dataverse"), ("/Data/x", "finops"), ("/METADATA/y", "finops")):
            answer = (await client.get(path)).json()
            assert (answer["half"], answer["database"]) == (half, f"isthmus_{half}")
            assert (answer["kind"], answer["object_id"]) == ("application", shared.credentials.client_id)
            assert answer["scheme"] == "https"


def test_secrets_are_kept_from_others(tmp_path: Path) -> None:
    identities = load_identities(Settings(data_dir=tmp_path))
    load_signing_key(tmp_path)
    files = [tmp_path / "identity.json", tmp_path / "credentials.json", tmp_path / "keys" / "token_signing.pem"]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}
    secret = msgspec.json.decode((tmp_path / "credentials.json").read_bytes())["client_secret"]
    assert secret not in (tmp_path / "identity.json").read_text()
    assert identities == load_identities(Settings(data_dir=tmp_path))
