"""The whole server as one ASGI callable: authentication first, then the half that the path belongs to.

/api/data/...          the Dataverse half
/data..., /metadata... the finance and operations half
/api/isthmus/...       the management API, for tokens that are good for both halves
/api/DualWrite...      and what else MANAGEMENT lists: the management calls of dual-write, for the same tokens
/health                whether both halves answer (says nothing else)
anything else          the local issuer
"""

from __future__ import annotations

import asyncio
import uuid

import msgspec

from isthmus.clock import monotonic
from isthmus.config import Settings
from isthmus.server.authentication import Authenticator, Unauthenticated
from isthmus.server.environment import Environment
from isthmus.server.wire import ASGIApp, Receive, Scope, Send, answer, base_url, client_address, header, names_host

HEALTH_SECONDS = 1.0
MANAGEMENT = {
    "isthmus": "management",
    "dualwritemanagement": "management_calls",
    "connectionset": "management_calls",
    "project": "management_calls",
    "dataset": "management_calls",
    "projectexecutionwithcompanies": "management_calls",
}
"""What an address below `/api/` belongs to, by its next part."""
# What a half answers who could not be identified: Dataverse has a code for it, finance and operations has none.
UNAUTHENTICATED_CODE = {"dataverse": "0x80072560", "finops": ""}
UNAUTHENTICATED = {
    "type": "urn:isthmus:error:unauthenticated",
    "title": "Who are you?",
    "status": 401,
    "code": "unauthenticated",
    "what_to_do": "Request a token for both halves (its resource is the address of this server) and send it.",
}
"""What the management API answers who could not be identified (RFC 9457)."""
AUDIENCES = {
    "dataverse": ("dataverse",),
    "finops": ("finops",),
    "management": ("dataverse", "finops"),
    "management_calls": ("dataverse", "finops"),
}
"""Halves that a token must be good for, by what is asked."""
BAD_HOST = b'{"error":{"code":"","message":"The Host header must name the host of the address, and maybe its port."}}'


class Application:
    """Serves one open environment."""

    def __init__(
        self, settings: Settings, environment: Environment, authenticator: Authenticator, issuer: ASGIApp, tenant: str
    ) -> None:
        self._environment = environment
        self._places = {
            "dataverse": environment.dataverse,
            "finops": environment.finops,
            "management": environment.management,
            "management_calls": environment.management_calls,
        }
        self._authenticator = authenticator
        self._issuer = issuer
        self._tenant = tenant
        self._trusted_proxies = frozenset(settings.trusted_proxies)
        self._healthy = False
        self._health_until = 0.0
        self.draining = asyncio.Event()
        """Set by whoever ends the server: answers that have no end of their own end then."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        if self._trusted_proxies:
            self._believe_proxy(scope)
        if scope["path"] == "/health":
            await self._health(send)
            return
        if not names_host(scope):
            await answer(send, 400, BAD_HOST, [])
            return
        place = place_of(scope["path"])
        if place is not None:
            try:
                scope["isthmus.principal"] = self._authenticator.authenticate(scope, *AUDIENCES[place])
            except Unauthenticated as error:
                await self._refuse(scope, send, place, str(error))
                return
            scope["isthmus.draining"] = self.draining
            await self._places[place](scope, receive, send)
        else:
            await self._issuer(scope, receive, send)

    async def _refuse(self, scope: Scope, send: Send, place: str, message: str) -> None:
        """401 in the shape of the place, with the address to log in at."""
        base = base_url(scope)
        challenge = f"Bearer authorization_uri={base}/{self._tenant}/oauth2/v2.0/authorize, resource_id={base}/"
        challenged = (b"www-authenticate", challenge.encode("latin-1"))
        request_id = str(uuid.uuid4())
        if place in ("management", "management_calls"):
            body = msgspec.json.encode({**UNAUTHENTICATED, "detail": message, "correlation_id": request_id})
            await answer(send, 401, body, [challenged], b"application/problem+json")
            return
        name = b"x-ms-service-request-id" if place == "dataverse" else b"x-ms-request-id"
        body = msgspec.json.encode({"error": {"code": UNAUTHENTICATED_CODE[place], "message": message}})
        headers = [challenged, (name, request_id.encode()), (b"odata-version", b"4.0")]
        await answer(send, 401, body, headers)

    async def _health(self, send: Send) -> None:
        if monotonic() >= self._health_until:
            self._healthy = await self._environment.ready()
            self._health_until = monotonic() + HEALTH_SECONDS
        status, word = (200, b"ready") if self._healthy else (503, b"not ready")
        await answer(send, status, b'{"status":"%s"}' % word, [(b"cache-control", b"no-store")])

    def _believe_proxy(self, scope: Scope) -> None:
        """Take scheme and host from a trusted proxy, which is the only one that knows what the client used."""
        if client_address(scope) not in self._trusted_proxies:
            return
        scheme = header(scope, b"x-forwarded-proto").decode("latin-1").split(",")[0].strip().lower()
        host = header(scope, b"x-forwarded-host").split(b",")[0].strip()
        if scheme in ("http", "https"):
            scope["scheme"] = scheme
        if host:
            scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope["headers"].append((b"host", host))


def place_of(path: str) -> str | None:
    """What a path belongs to, whatever its case: a half, the management API, or None for the server itself."""
    start = path[:10].lower()
    if start == "/api/data/" or start == "/api/data":
        return "dataverse"
    if start.startswith("/api/"):
        return MANAGEMENT.get(path[5:].partition("/")[0].lower())
    for prefix in ("/data", "/metadata"):
        if start.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/", "("):
            return "finops"
    return None
