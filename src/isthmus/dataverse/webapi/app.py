"""The Web API as an ASGI callable: one request, one straight line of named stages.

parse -> plan -> main -> shape for reads; parse -> main -> sync -> shape -> commit for writes. Each is timed into the
`Server-Timing` header.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from isthmus.apps.context import Context
from isthmus.apps.idempotency import Answer, claim, digest, request_key, store
from isthmus.apps.principal import ANONYMOUS
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.system_users import SystemUser
from isthmus.dataverse.webapi.answers import JSON_HEADERS, XML_HEADERS, json_answer
from isthmus.dataverse.webapi.csdl import metadata_document
from isthmus.dataverse.webapi.definitions_service import ROOTS, Definitions, read_definitions
from isthmus.dataverse.webapi.errors import wire_error
from isthmus.dataverse.webapi.functions import function_named
from isthmus.dataverse.webapi.reading import no_such_segment, read
from isthmus.dataverse.webapi.request import Receive, Request, Scope, Send, read_body
from isthmus.dataverse.webapi.service import Service
from isthmus.dataverse.webapi.writing import method_not_allowed, write
from isthmus.errors import Conflict, NotFound
from isthmus.observe import Stages
from isthmus.query.odata_path import parse_path

_ROOT = re.compile(r"(?P<root>/api/data/v9\.[0-2])(?:/(?P<path>.*))?", re.IGNORECASE | re.DOTALL)

ATTEMPTS = 2
"""An upsert that loses a race to create its row is run once more: it then updates that row."""


class WebApi:
    """Serves `/api/data/v9.0` to `/api/data/v9.2`; `scope["isthmus.principal"]` says who calls."""

    def __init__(self, app: DataverseApp) -> None:
        self.app = app
        self._service = Service(app)
        self._definitions = Definitions(app.catalog)
        self._metadata: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        correlation_id = str(uuid4())
        stages = Stages()
        try:
            with stages.stage("parse"):
                request = await self._request(scope, receive, correlation_id, stages)
            answer = await self._answer(request)
        except Exception as error:
            failure = wire_error(error, correlation_id)
            answer = Answer(failure.status, (*JSON_HEADERS, *failure.headers), failure.body)
        await _send(send, answer, correlation_id, stages)

    async def _request(self, scope: Scope, receive: Receive, correlation_id: str, stages: Stages) -> Request:
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        found = _ROOT.fullmatch(raw.decode("latin-1"))
        if found is None:
            raise NotFound(
                f"There is no service at '{scope['path']}': the Web API is at /api/data/v9.2/.",
                code="segment_not_found",
            )
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"localhost").decode("latin-1")
        method: str = scope["method"]
        path = found["path"] or ""
        return Request(
            method=method,
            path=path,
            segments=parse_path(path),
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            body=b"" if method == "GET" else await read_body(receive),
            base=f"{scope['scheme']}://{host}{found['root']}",
            principal=scope.get("isthmus.principal", ANONYMOUS),
            correlation_id=correlation_id,
            stages=stages,
        )

    async def _answer(self, request: Request) -> Answer:
        user = await self.app.users.of(self._service.fetch, request.principal)
        if request.method == "GET":
            return await self._read(request, user)
        if request.method not in ("POST", "PATCH", "PUT", "DELETE") or not request.segments:
            raise method_not_allowed(request)
        if request.segments[0].name.lower() in ROOTS:
            raise method_not_allowed(request)
        return await self._write(request, user)

    async def _read(self, request: Request, user: SystemUser) -> Answer:
        if not request.segments:
            return self._service_document(request)
        first = request.segments[0]
        if first.name == "$metadata":
            if self._metadata is None:
                self._metadata = metadata_document(self.app.catalog)
            return Answer(200, XML_HEADERS, self._metadata)
        if first.name.lower() in ROOTS:
            return read_definitions(self._definitions, request)
        function = function_named(first.name)
        if function is not None:
            if len(request.segments) > 1:
                raise no_such_segment(request.segments[1])
            return await function(self._service, request, user)
        return await read(self._service, request, user)

    async def _write(self, request: Request, user: SystemUser) -> Answer:
        """The write and its answer become durable together; a repeated request gets the answer of the first."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._context(request) as context:
                    answer = await self._write_once(context, request, user)
            except Conflict as error:
                if attempt == ATTEMPTS or not _lost_race(request, error):
                    raise
            else:
                return _with_partner(answer) if context.deferred else answer
        raise AssertionError("the loop returns or raises")

    def _context(self, request: Request) -> Context:
        return self.app.context(request.principal, correlation_id=request.correlation_id, stages=request.stages)

    async def _write_once(self, context: Context, request: Request, user: SystemUser) -> Answer:
        key = request_key(request.headers)
        if key is not None:
            known = await claim(
                context, key, digest(request.method, request.path, request.query.encode(), request.body)
            )
            if known is not None:
                return Answer(known.status, (*known.headers, (b"idempotency-replayed", b"true")), known.body)
        answer = await write(self._service, context, request, user)
        if key is not None:
            await store(context, key, answer)
        await context.commit()
        return answer

    def _service_document(self, request: Request) -> Answer:
        sets = sorted(table.entity_set_name for table in self.app.catalog.tables.values())
        return json_answer(
            {
                "@odata.context": f"{request.base}/$metadata",
                "value": [{"name": name, "kind": "EntitySet", "url": name} for name in sets],
            }
        )


def _with_partner(answer: Answer) -> Answer:
    """Say that the partner half shows the save a moment later: recovery finishes its commit."""
    return Answer(answer.status, (*answer.headers, (b"isthmus-partner", b"deferred")), answer.body)


def _lost_race(request: Request, error: Conflict) -> bool:
    """Whether an upsert found no row and could then not create it, because somebody else just had."""
    return (
        request.method == "PATCH"
        and error.code in ("duplicate_key", "duplicate_id")
        and not request.only_new
        and not request.only_existing
    )


async def _send(send: Send, answer: Answer, correlation_id: str, stages: Stages) -> None:
    request_id = correlation_id.encode()
    headers: list[Any] = [
        *answer.headers,
        (b"x-ms-service-request-id", request_id),
        (b"req_id", request_id),
        (b"server-timing", stages.server_timing().encode()),
    ]
    if answer.status not in (204, 304):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
