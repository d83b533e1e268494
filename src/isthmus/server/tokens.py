"""Access tokens of the local issuer: JSON Web Tokens signed with RS256, with the claims of Entra's own."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from isthmus.apps.principal import Principal
from isthmus.server.identity import BOTH_HALVES, Application, Identities, User
from isthmus.server.private_files import read_private, write_private

ALGORITHM = "RS256"
KEY_BITS = 2048
# How far the clock may have gone back since a token was issued.
CLOCK_LEEWAY_SECONDS = 60
HALF_PATHS = {"dataverse": "/api/data", "finops": "/data"}


class InvalidToken(Exception):
    """The token is malformed, expired, not ours, or of somebody who may no longer log in; the text says which."""


def load_signing_key(data_dir: Path) -> RSAKey:
    """The key that signs tokens, created at the first start; its id is its thumbprint."""
    path = data_dir / "keys" / "token_signing.pem"
    if not path.exists():
        write_private(path, RSAKey.generate_key(KEY_BITS).as_pem(private=True))
    key = RSAKey.import_key(read_private(path))
    key.ensure_kid()
    return key


def halves_of(resource: str) -> frozenset[str] | None:
    """Which halves a resource address stands for: a base address for both, `/api/data...` or `/data...` for one.

    None when the path names neither half.
    """
    path = urlsplit(resource).path.rstrip("/").lower()
    if not path:
        return BOTH_HALVES
    for half, prefix in HALF_PATHS.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return frozenset({half})
    return None


class Tokens:
    """Issues tokens and verifies them; `lifetime` in seconds."""

    def __init__(self, key: RSAKey, identities: Identities, lifetime: int) -> None:
        self.key = key
        self.identities = identities
        self.lifetime = lifetime

    def public_keys(self) -> dict[str, Any]:
        """The JSON Web Key Set that verifies our tokens."""
        return {"keys": [{**self.key.as_dict(private=False), "use": "sig", "alg": ALGORITHM}]}

    def issue(self, who: Application | User, resource: str, issuer: str) -> str:
        """An access token for `resource` (a base address, or one with the path of a half)."""
        if isinstance(who, Application):
            claims = {"oid": who.client_id, "appid": who.client_id, "idtyp": "app", "app_displayname": who.name}
        else:
            claims = {"oid": who.object_id, "idtyp": "user", "name": who.name, "upn": who.name}
        return self._sign({**claims, "aud": resource.rstrip("/"), "iss": issuer, "sub": claims["oid"]})

    def issue_id_token(self, user: User, client_id: str, issuer: str) -> str:
        """An OpenID Connect ID token, which tells an application who has signed in."""
        claims = {"aud": client_id, "iss": issuer, "sub": user.object_id, "oid": user.object_id}
        return self._sign({**claims, "name": user.name, "preferred_username": user.name})

    def verify(self, token: str) -> Principal:
        """Whom a token stands for. Raises InvalidToken."""
        try:
            claims = jwt.decode(token, self.key, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError) as error:
            raise InvalidToken("the token is not one that this environment issued") from error
        try:
            checked = msgspec.convert(claims, _AccessClaims)
        except msgspec.ValidationError as error:
            raise InvalidToken(f"the token is not an access token: {error}") from None
        if checked.exp <= time.time():
            raise InvalidToken("the token has expired: request another one")
        if checked.nbf > time.time() + CLOCK_LEEWAY_SECONDS:
            raise InvalidToken("the token is not valid yet: check the clocks")
        if checked.tid != self.identities.tenant_id:
            raise InvalidToken("the token is of another tenant")
        audiences = halves_of(checked.aud)
        if audiences is None:
            raise InvalidToken("the token is for neither half")
        name = self._name(checked)
        return Principal(
            kind="application" if checked.idtyp == "app" else "user",
            object_id=checked.oid,
            name=name,
            audiences=audiences,
            expires_at=checked.exp,
        )

    def _name(self, claims: _AccessClaims) -> str:
        """The name of the token's subject, who must still be allowed to log in."""
        if claims.idtyp == "app":
            application = self.identities.application(claims.oid)
            if application is not None:
                return application.name
        else:
            user = self.identities.user(claims.oid)
            if user is not None:
                return user.name
        raise InvalidToken("the token is of somebody who may not log in any more")

    def _sign(self, claims: dict[str, Any]) -> str:
        now = int(time.time())
        times = {"iat": now, "nbf": now, "exp": now + self.lifetime}
        common = {"tid": self.identities.tenant_id, "uti": secrets.token_urlsafe(16), "ver": "2.0"}
        header = {"alg": ALGORITHM, "typ": "JWT", "kid": self.key.kid}
        return jwt.encode(header, {**claims, **times, **common}, self.key)


class _AccessClaims(msgspec.Struct, frozen=True):
    aud: str
    oid: str
    tid: str
    idtyp: str
    exp: float
    nbf: float
