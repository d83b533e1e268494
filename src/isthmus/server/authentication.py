"""From the `Authorization` header to a principal, before either half sees the request."""

from __future__ import annotations

import time
from collections import OrderedDict

from isthmus.apps.principal import Principal
from isthmus.config import is_loopback
from isthmus.server.tokens import InvalidToken, Tokens
from isthmus.server.wire import Scope, client_address, header

MOCK_TOKEN = b"mock-token-for-localhost"
REMEMBERED_TOKENS = 4096
LONGEST_TOKEN = 16 * 1024


class Unauthenticated(Exception):
    """The request carries no token that lets it into this half; the text says why, for the answer's body."""


class Authenticator:
    """Verifies bearer tokens. A verified one is remembered under the exact bytes of its header until it expires, so
    that all further requests cost one look-up. Refused ones are never remembered: they can't push others out.

    `mock_identity` is whom the fixed token `mock-token-for-localhost` stands for; None = that token is refused.
    """

    def __init__(self, tokens: Tokens, mock_identity: Principal | None = None) -> None:
        self._tokens = tokens
        self._mock_identity = mock_identity
        self._remembered: OrderedDict[bytes, Principal] = OrderedDict()

    def authenticate(self, scope: Scope, *halves: str) -> Principal:
        """The caller of a request that needs a token for these halves. Raises Unauthenticated."""
        authorization = header(scope, b"authorization")
        principal = self._remembered.get(authorization)
        if principal is None or principal.expires_at <= time.time():
            principal = self._verify(authorization, scope)
        else:
            self._remembered.move_to_end(authorization)
        if not principal.audiences.issuperset(halves):
            wanted = "both" if len(halves) > 1 else "this half or for both"
            raise Unauthenticated(f"The token was issued for the other half: request one for {wanted}.")
        return principal

    def _verify(self, authorization: bytes, scope: Scope) -> Principal:
        self._remembered.pop(authorization, None)
        if not authorization:
            raise Unauthenticated("A bearer token is required: send it in the Authorization header.")
        scheme, _, token = authorization.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not token or len(token) > LONGEST_TOKEN:
            raise Unauthenticated("The Authorization header must be: Bearer, a space, and a token.")
        if token == MOCK_TOKEN:
            return self._mock(scope)
        try:
            principal = self._tokens.verify(token.decode("ascii"))
        except UnicodeDecodeError:
            raise Unauthenticated("The bearer token is not accepted: it is not ASCII.") from None
        except InvalidToken as error:
            raise Unauthenticated(f"The bearer token is not accepted: {error}.") from None
        self._remembered[authorization] = principal
        if len(self._remembered) > REMEMBERED_TOKENS:
            self._remembered.popitem(last=False)
        return principal

    def _mock(self, scope: Scope) -> Principal:
        if self._mock_identity is None or not is_loopback(client_address(scope)):
            raise Unauthenticated("The mock token is accepted on loopback only, when accept_mock_token is set.")
        return self._mock_identity
