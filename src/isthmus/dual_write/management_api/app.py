"""The management API as one ASGI callable: `/api/isthmus/v1/`, described by `/api/isthmus/v1/openapi.json`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import partial
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from isthmus.apps.idempotency import digest, request_key
from isthmus.apps.odata_request import read_body
from isthmus.apps.odata_root import known_error
from isthmus.apps.principal import ANONYMOUS, Principal
from isthmus.dual_write.management_api.endpoint import Endpoint, endpoints_of
from isthmus.dual_write.management_api.once import Once
from isthmus.dual_write.management_api.openapi import Description
from isthmus.dual_write.management_api.problem import problem_response
from isthmus.errors import Bug, IsthmusError, NotFound, Rejected
from isthmus.observe import log

ROOT = "/api/isthmus/v1"

Admit = Callable[[Principal], Awaitable[object]]


class ManagementApi:
    """Serves the calls of its nouns to whom `admit` lets in (it raises Rejected for others).

    Calls stand below `root`, together with their description; without a root each has its whole path, and none has.
    `scope["isthmus.principal"]` says who calls. `endpoints` are all calls that there are.
    """

    def __init__(self, nouns: Iterable[object], admit: Admit, once: Once, root: str = ROOT) -> None:
        self._admit = admit
        self._once = once
        self.endpoints = [call for noun in nouns for call in endpoints_of(noun)]
        if root:
            self.endpoints += endpoints_of(Description(root, self.endpoints))
        by_path: dict[str, dict[str, Endpoint]] = {}
        for call in self.endpoints:
            by_path.setdefault(call.path, {})[call.method] = call
        self._app = Starlette(
            routes=[Route(root + path, self._handler(calls), methods=[*calls]) for path, calls in by_path.items()],
            exception_handlers={HTTPException: _no_route},
        )

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        path: str = scope["path"]
        await self._app({**scope, "path": path.rstrip("/") or path}, receive, send)

    def _handler(self, calls: Mapping[str, Endpoint]) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            call = calls["GET" if request.method == "HEAD" else request.method]
            correlation_id = str(uuid4())
            try:
                answer = await self._answer(call, request, correlation_id)
            except Exception as error:
                answer = _failure(error, call.id, correlation_id)
            answer.headers["x-correlation-id"] = correlation_id
            answer.headers["cache-control"] = "no-store"
            return answer

        return handle

    async def _answer(self, call: Endpoint, request: Request, correlation_id: str) -> Response:
        principal: Principal = request.scope.get("isthmus.principal", ANONYMOUS)
        await self._admit(principal)
        body = b"" if call.method == "GET" else await read_body(request.receive)
        produce = partial(call.call, request, body, correlation_id)
        key = request_key(dict(request.scope["headers"])) if call.method == "POST" else None
        if key is None:
            return await produce()
        asked = digest(call.method, request.url.path, request.scope["query_string"], body)
        return await self._once.answer(principal.object_id, key, asked, produce)


def _failure(error: Exception, call: str, correlation_id: str) -> Response:
    known = known_error(error)
    if known is None or isinstance(known, Bug):
        log.error("request_failed", call=call, correlation_id=correlation_id, exc_info=error)
    return problem_response(known, correlation_id)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refused: IsthmusError
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        refused = Rejected(
            f"'{request.url.path}' has no use for {request.method}: it takes {allowed}.", code="method_not_allowed"
        )
    else:
        refused = NotFound(
            f"There is nothing at '{request.url.path}': see {ROOT}/openapi.json for what there is.",
            code="segment_not_found",
        )
    answer = problem_response(refused, str(uuid4()))
    answer.headers.update(error.headers or {})
    return answer
