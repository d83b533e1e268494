"""The local OAuth 2.0 and OpenID Connect issuer, with the addresses and answers of Microsoft Entra ID.

/{tenant}/v2.0/.well-known/openid-configuration   what there is (also without v2.0, as AD FS has it)
/{tenant}/discovery/v2.0/keys                     the keys that verify its tokens
/{tenant}/oauth2/v2.0/token                       client credentials (RFC 6749, 4.4) and device codes (RFC 8628)
/{tenant}/oauth2/v2.0/devicecode                  begin a sign-in on another device
/devicelogin                                      the page where a person enters the user code
/common/discovery/instance                        which authority this host is

The tenant is the environment's own id; `common`, `organizations` and `adfs` stand for it. Other tenants are refused.
"""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from isthmus.clock import now
from isthmus.config import Settings
from isthmus.server.attempts import FailedAttempts
from isthmus.server.device_codes import LIFETIME_SECONDS, POLL_SECONDS, DeviceCode, DeviceCodes, TooManyPending
from isthmus.server.device_page import device_page
from isthmus.server.identity import User
from isthmus.server.tokens import ALGORITHM, Tokens, halves_of
from isthmus.server.wire import base_url, client_address

TENANT_ALIASES = frozenset({"common", "organizations", "adfs"})
INTEGRATOR = "integratorapp.com"
"""The resource that dual-write's own administration tools request tokens for: here, this environment."""
LARGEST_FORM = 64 * 1024
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}


class Refusal(Exception):
    """An answer in OAuth's error shape: `error` is OAuth's word, `number` Entra's AADSTS number."""

    def __init__(self, error: str, number: int, description: str, status: int = 400, retry_after: int = 0) -> None:
        super().__init__(description)
        self.error = error
        self.number = number
        self.description = description
        self.status = status
        self.retry_after = retry_after


class Issuer:
    """The issuer of one environment; `app` is its ASGI callable."""

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        self._tokens = tokens
        self._device_codes = DeviceCodes(settings.data_dir)
        self._attempts = FailedAttempts()
        self._own_ports = {settings.port, settings.http_port}
        self.app = Starlette(
            routes=[
                Route("/{tenant}/v2.0/.well-known/openid-configuration", self.discovery),
                Route("/{tenant}/.well-known/openid-configuration", self.discovery),
                Route("/{tenant}/discovery/v2.0/keys", self.keys),
                Route("/{tenant}/oauth2/v2.0/token", self.token, methods=["POST"]),
                Route("/{tenant}/oauth2/v2.0/devicecode", self.device_code, methods=["POST"]),
                Route("/devicelogin", self.device_login, methods=["GET", "POST"]),
                Route("/common/discovery/instance", self.instance),
            ],
            exception_handlers={Refusal: _refused},
        )

    async def discovery(self, request: Request) -> Response:
        """The OpenID Connect discovery document, with addresses as the client reached us."""
        self._check_tenant(request)
        base = base_url(request.scope)
        authority = f"{base}/{request.path_params['tenant']}"
        document = {
            "issuer": self._issuer(request),
            "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
            "token_endpoint": f"{authority}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{authority}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{authority}/discovery/v2.0/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "grant_types_supported": ["client_credentials", DEVICE_GRANT],
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "scopes_supported": ["openid", "profile", "offline_access"],
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "oid", "tid", "name", "preferred_username", "ver"],
        }
        return _json(document)

    async def keys(self, request: Request) -> Response:
        """The JSON Web Key Set."""
        self._check_tenant(request)
        return _json(self._tokens.public_keys())

    async def instance(self, request: Request) -> Response:
        """Instance discovery: this host is an authority of its own."""
        base = base_url(request.scope)
        host = urlsplit(base).netloc
        document = {
            "tenant_discovery_endpoint": f"{base}/{self._tenant_id}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }
        return _json(document)

    async def token(self, request: Request) -> Response:
        """A token for an application's secret, or for an approved device code."""
        self._check_tenant(request)
        form = await _form(request)
        grant = form.get("grant_type", "")
        if grant == "client_credentials":
            return self._client_credentials(request, form)
        if grant == DEVICE_GRANT:
            return await self._device_token(request, form)
        raise Refusal("unsupported_grant_type", 70003, f"grant_type {grant!r} is not one of those offered here.")

    def _client_credentials(self, request: Request, form: Mapping[str, str]) -> Response:
        client_id, secret = _client_and_secret(request, form)
        address = client_address(request.scope)
        self._check_attempts(client_id, address)
        application = self._tokens.identities.verify_secret(client_id, secret)
        if application is None:
            self._attempts.failed(client_id, address)
            raise Refusal("invalid_client", 7000215, "The client id or its secret is not right.", status=401)
        resource = self._resource(request, form.get("scope", ""))
        return self._answer(self._tokens.issue(application, resource, self._issuer(request)))

    async def device_code(self, request: Request) -> Response:
        """Begin a sign-in that a person approves on another device."""
        self._check_tenant(request)
        form = await _form(request)
        client_id = _guid(form.get("client_id", ""))
        scope = form.get("scope", "")
        resource = self._resource(request, scope)
        try:
            device_code, user_code = self._device_codes.begin(client_id, resource, scope)
        except TooManyPending:
            raise Refusal("temporarily_unavailable", 90055, "Too many sign-ins are waiting.", 429, 60) from None
        page = f"{base_url(request.scope)}/devicelogin"
        readable = f"{user_code[:4]}-{user_code[4:]}"
        message = f"To sign in, open the page {page} in a browser and enter the code {readable}."
        return _json(
            {
                "device_code": device_code,
                "user_code": readable,
                "verification_uri": page,
                "expires_in": LIFETIME_SECONDS,
                "interval": POLL_SECONDS,
                "message": message,
            }
        )

    async def _device_token(self, request: Request, form: Mapping[str, str]) -> Response:
        client_id = _guid(form.get("client_id", ""))
        found = self._device_codes.redeem(form.get("device_code", ""), client_id)
        if found == "pending":
            raise Refusal("authorization_pending", 70016, "Nobody has approved this sign-in yet: ask again.")
        if found == "expired":
            raise Refusal("expired_token", 70020, "The code has expired: begin again.")
        if not isinstance(found, DeviceCode):
            raise Refusal("invalid_grant", 70000, "There is no sign-in with this device code.")
        user = self._tokens.identities.user(found.approved_by)
        if user is None:
            raise Refusal("invalid_grant", 50034, "The user who approved this sign-in may not log in any more.")
        issuer = self._issuer(request)
        answer = {
            "scope": found.scope,
            "id_token": self._tokens.issue_id_token(user, client_id, issuer),
            "client_info": _client_info(user, self._tenant_id),
        }
        return self._answer(self._tokens.issue(user, found.resource, issuer), answer)

    async def device_login(self, request: Request) -> Response:
        """The page for the user code: a person approves with their name and password."""
        if request.method == "GET":
            return device_page(request.query_params.get("user_code", ""))
        form = await _form(request)
        name, code = form.get("name", ""), form.get("user_code", "")
        address = client_address(request.scope)
        wait = self._attempts.seconds_to_wait(name, address)
        if wait:
            return device_page(code, f"Too many failed attempts. Try again in {wait} seconds.", status=429)
        user = await asyncio.to_thread(self._tokens.identities.verify_password, name, form.get("password", ""))
        if user is None:
            self._attempts.failed(name, address)
            return device_page(code, "The name or the password is not right.", status=401)
        if not self._device_codes.approve(code, user.object_id):
            self._attempts.failed(name, address)
            return device_page("", "There is no sign-in with this code, or it has expired.", status=400)
        return device_page("", f"Approved. You are signed in as {user.name} on the other device.", done=True)

    @property
    def _tenant_id(self) -> str:
        return self._tokens.identities.tenant_id

    def _check_tenant(self, request: Request) -> None:
        tenant = request.path_params["tenant"].lower()
        if tenant != self._tenant_id and tenant not in TENANT_ALIASES:
            raise Refusal(
                "invalid_tenant", 90002, f"Tenant {tenant!r} is not this environment's: use {self._tenant_id}."
            )

    def _check_attempts(self, account: str, address: str) -> None:
        wait = self._attempts.seconds_to_wait(account, address)
        if wait:
            raise Refusal("invalid_client", 50053, f"Too many failed attempts: wait {wait} seconds.", 429, wait)

    def _issuer(self, request: Request) -> str:
        return f"{base_url(request.scope)}/{self._tenant_id}/v2.0"

    def _resource(self, request: Request, scope: str) -> str:
        """The address in a scope such as `https://localhost:7443/.default`; it must be one of this server's."""
        own_host = urlsplit(base_url(request.scope)).netloc.lower()
        for part in scope.split():
            resource, separator, _ = part.rpartition("/")
            if not separator or "://" not in resource:
                continue
            address = urlsplit(resource)
            if address.netloc.lower() == INTEGRATOR:
                return base_url(request.scope)
            local = address.hostname in ("localhost", "127.0.0.1", "::1") and address.port in self._own_ports
            if (address.netloc.lower() == own_host or local) and halves_of(resource) is not None:
                return resource.rstrip("/")
            raise Refusal("invalid_resource", 500011, f"{resource} is no address of this environment.")
        raise Refusal("invalid_scope", 70011, f"Scope {scope!r} must be <address of this environment>/.default.")

    def _answer(self, access_token: str, more: Mapping[str, str] | None = None) -> Response:
        lifetime = self._tokens.lifetime
        document = {"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime}
        return _json({**document, "access_token": access_token, **(more or {})})


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, of which there is little and each at most once."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise Refusal("invalid_request", 90014, f"The form is larger than {LARGEST_FORM} bytes.", status=413)
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise Refusal(
            "invalid_request", 90014, "The body must be a form (application/x-www-form-urlencoded)."
        ) from None


def _client_and_secret(request: Request, form: Mapping[str, str]) -> tuple[str, str]:
    """Client id and secret from the form, or from HTTP Basic authentication (RFC 6749, 2.3.1)."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except ValueError:
        raise Refusal("invalid_client", 7000218, "The Authorization header is not Basic.", status=401) from None
    return unquote_plus(client_id), unquote_plus(secret)


def _guid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Refusal("invalid_client", 900144, "client_id must be a GUID.") from None


def _client_info(user: User, tenant_id: str) -> str:
    """Microsoft's client libraries key their cache of accounts by this."""
    encoded = msgspec.json.encode({"uid": user.object_id, "utid": tenant_id})
    return base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()


def _json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), status, {**NO_STORE, **(headers or {})}, "application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    trace = str(uuid.uuid4())
    document = {
        "error": error.error,
        "error_description": f"AADSTS{error.number}: {error.description}",
        "error_codes": [error.number],
        "timestamp": now().strftime("%Y-%m-%d %H:%M:%SZ"),
        "trace_id": trace,
        "correlation_id": request.headers.get("client-request-id", trace),
    }
    headers = {"retry-after": str(error.retry_after)} if error.retry_after else {}
    if error.status == 401:
        headers["www-authenticate"] = "Basic"
    return _json(document, error.status, headers)
