"""Applications and users: generated once, or one's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from isthmus.config import Settings
from isthmus.errors import Rejected
from isthmus.server.credentials import load_credentials
from isthmus.server.identity import PASSWORD_HASHER, load_identities

TENANT = "5b1d2f5e-1111-4222-8333-444455556666"
CLIENT = "0F5B0B7E-1111-4222-8333-444455556666"


def own_file(tmp_path: Path, content: object, mode: int = 0o600) -> Settings:
    path = tmp_path / "own.json"
    path.write_bytes(msgspec.json.encode(content))
    path.chmod(mode)
    return Settings(data_dir=tmp_path / "data", identity_file=path)


def test_generated_secrets_log_in_and_differ_each_time(tmp_path: Path) -> None:
    seen = set()
    for name in ("one", "two"):
        settings = Settings(data_dir=tmp_path / name)
        identities, credentials = load_identities(settings), load_credentials(settings)
        assert credentials is not None and len(credentials.client_secret) >= 43
        assert identities.verify_secret(credentials.client_id.upper(), credentials.client_secret)
        assert identities.verify_password(credentials.user_name, credentials.user_password)
        assert not identities.verify_secret(credentials.client_id, credentials.client_secret + "x")
        assert not identities.verify_secret("unknown", "")
        assert not identities.verify_password(credentials.user_name, "")
        assert not identities.verify_password("unknown", credentials.user_password)
        seen |= {credentials.client_secret, credentials.user_password, credentials.tenant_id, credentials.client_id}
    assert len(seen) == 8


def test_passwords_are_hashed_slowly(tmp_path: Path) -> None:
    (user,) = load_identities(Settings(data_dir=tmp_path)).users
    assert user.password_argon2id.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_ones_own_identities_replace_the_generated_ones(tmp_path: Path) -> None:
    secret = hashlib.sha256(b"a secret of my own").hexdigest().upper()
    person = {"object_id": TENANT, "name": "ann@example.com", "password_argon2id": PASSWORD_HASHER.hash("hers")}
    application = {"client_id": CLIENT, "name": "Mine", "secret_sha256": secret}
    settings = own_file(tmp_path, {"tenant_id": TENANT, "applications": [application], "users": [person]})
    identities = load_identities(settings)
    assert identities.verify_secret(CLIENT.lower(), "a secret of my own")
    assert identities.verify_password("Ann@example.com", "hers")
    assert load_credentials(settings) is None
    assert not (tmp_path / "data").exists()


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="chmod 600"):
        load_identities(own_file(tmp_path, {"tenant_id": TENANT}, 0o644))


@pytest.mark.parametrize(
    ("content", "message"),
    [({"tenant_id": TENANT}, "names no application"), ({"applications": []}, "missing required field"), ([], "object")],
)
def test_a_file_with_faults_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(Rejected, match=message):
        load_identities(own_file(tmp_path, content))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="can't be used"):
        load_identities(Settings(data_dir=tmp_path, identity_file=tmp_path / "none.json"))
