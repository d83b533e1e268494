"""Who may log in: the applications and users of the local issuer, and the development secrets made at the first start.

`identity.json` keeps only hashes: SHA-256 of an application's secret (256 random bits need no slow hash), argon2id of
a user's password. The generated secrets stand in `credentials.json`, readable by its owner alone. There is no default
password. An `identity_file` of your own has the form of `identity.json`.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
import uuid
from pathlib import Path

import argon2
import msgspec

from isthmus.apps.principal import Principal
from isthmus.config import Settings
from isthmus.errors import Rejected
from isthmus.server.credentials import Credentials, save_credentials
from isthmus.server.private_files import read_private, write_private

BOTH_HALVES = frozenset({"dataverse", "finops"})
DEVELOPMENT_APPLICATION = "Isthmus development application"
DEVELOPMENT_USER = "developer@isthmus.localhost"

PASSWORD_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class Application(msgspec.Struct, frozen=True):
    """An application that logs in with a secret; `client_id` is a GUID in text form."""

    client_id: str
    name: str
    secret_sha256: str

    def principal(self) -> Principal:
        """The application as a caller of both halves."""
        return Principal("application", self.client_id, self.name, BOTH_HALVES, float("inf"))


class User(msgspec.Struct, frozen=True):
    """A person who logs in with a password; `object_id` is a GUID in text form, `name` an address."""

    object_id: str
    name: str
    password_argon2id: str

    def principal(self) -> Principal:
        """The user as a caller of both halves."""
        return Principal("user", self.object_id, self.name, BOTH_HALVES, float("inf"))


class Identities(msgspec.Struct, frozen=True):
    """The tenant (a GUID in text form) and everybody in it."""

    tenant_id: str
    applications: tuple[Application, ...] = ()
    users: tuple[User, ...] = ()

    def application(self, client_id: str) -> Application | None:
        """The application with this client id, in any case."""
        return next((found for found in self.applications if found.client_id.lower() == client_id.lower()), None)

    def user(self, object_id: str) -> User | None:
        """The user with this object id."""
        return next((found for found in self.users if found.object_id == object_id), None)

    def principals(self) -> list[Principal]:
        """Everybody who may log in."""
        return [*(found.principal() for found in self.applications), *(found.principal() for found in self.users)]

    def first(self) -> Application | User:
        """The first application, or else the first user: whom the environment itself acts for."""
        return self.applications[0] if self.applications else self.users[0]

    def verify_secret(self, client_id: str, secret: str) -> Application | None:
        """The application, when the secret is its own."""
        application = self.application(client_id)
        expected = application.secret_sha256 if application else ""
        return application if hmac.compare_digest(_sha256(secret), expected.lower()) else None

    def verify_password(self, name: str, password: str) -> User | None:
        """The user, when the password is theirs. Takes about 25 ms of processor time, also for unknown names."""
        user = next((found for found in self.users if found.name.lower() == name.strip().lower()), None)
        try:
            PASSWORD_HASHER.verify(user.password_argon2id if user else _nobodys_hash(), password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return None
        return user


def load_identities(settings: Settings) -> Identities:
    """Read who may log in; the first start without an `identity_file` generates one application and one user.

    Raises Rejected when a file is missing, malformed or readable by others.
    """
    path = settings.identity_file or generated_identities(settings.data_dir)
    if settings.identity_file is None and not path.exists():
        _generate(settings.data_dir)
    try:
        identities = msgspec.json.decode(read_private(path), type=Identities)
    except (OSError, msgspec.DecodeError) as error:
        raise Rejected(f"identity file {path} can't be used: {error}.", code="identity_file") from None
    if not identities.applications and not identities.users:
        raise Rejected(f"identity file {path} names no application and no user.", code="identity_file")
    return identities


def generated_identities(data_dir: Path) -> Path:
    """Where the generated applications and users of a data directory are kept."""
    return data_dir / "identity.json"


def _generate(data_dir: Path) -> None:
    credentials = Credentials(
        tenant_id=str(uuid.uuid4()),
        client_id=str(uuid.uuid4()),
        client_secret=secrets.token_urlsafe(32),
        user_name=DEVELOPMENT_USER,
        user_password=secrets.token_urlsafe(18),
    )
    application = Application(credentials.client_id, DEVELOPMENT_APPLICATION, _sha256(credentials.client_secret))
    user = User(str(uuid.uuid4()), DEVELOPMENT_USER, PASSWORD_HASHER.hash(credentials.user_password))
    identities = Identities(credentials.tenant_id, (application,), (user,))
    # The secrets first: hashes whose secrets nobody has would lock everybody out.
    save_credentials(data_dir, credentials)
    write_private(generated_identities(data_dir), msgspec.json.format(msgspec.json.encode(identities)) + b"\n")


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@functools.cache
def _nobodys_hash() -> str:
    """A hash to verify passwords of unknown users against, so that they take as long as those of known ones."""
    return PASSWORD_HASHER.hash(secrets.token_urlsafe(32))
