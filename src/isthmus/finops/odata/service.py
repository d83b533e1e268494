"""OData as an ASGI callable: one request, one straight line of named stages.

parse -> plan -> main -> shape for reads; parse -> validate -> lock -> main -> shape -> sync -> commit for writes. Each
is timed into the `Server-Timing` header.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from isthmus.apps.idempotency import Answer, claim, digest, request_key, store
from isthmus.apps.principal import ANONYMOUS
from isthmus.errors import NotFound
from isthmus.finops.app import FinopsApp
from isthmus.finops.odata.answers import JSON_HEADERS, XML_HEADERS
from isthmus.finops.odata.csdl import metadata_document
from isthmus.finops.odata.errors import wire_error
from isthmus.finops.odata.reading import Reader
from isthmus.finops.odata.request import Receive, Request, Scope, Send, read_body
from isthmus.finops.odata.writing import method_not_allowed, write
from isthmus.observe import Stages
from isthmus.query.odata_path import parse_path

_ROOT = re.compile(r"(?P<root>/data)(?:/(?P<path>.*))?", re.IGNORECASE | re.DOTALL)

WRITES = frozenset({"POST", "PATCH", "PUT", "DELETE"})


class ODataService:
    """Serves `/data` and what is below it; `scope["isthmus.principal"]` says who calls."""

    def __init__(self, app: FinopsApp) -> None:
        self.app = app
        self._reader = Reader(app)
        self._metadata: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        correlation_id = str(uuid4())
        stages = Stages()
        request: Request | None = None
        try:
            with stages.stage("parse"):
                request = await self._request(scope, receive, correlation_id, stages)
            answer = await self._answer(request)
        except Exception as error:
            failure = wire_error(error, correlation_id, self._written_entity(request))
            answer = Answer(failure.status, (*JSON_HEADERS, *failure.headers), failure.body)
        await _send(send, answer, correlation_id, stages)

    async def _request(self, scope: Scope, receive: Receive, correlation_id: str, stages: Stages) -> Request:
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        found = _ROOT.fullmatch(raw.decode("latin-1"))
        if found is None:
            raise NotFound(f"There is no service at '{scope['path']}': OData is at /data.", code="segment_not_found")
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
        if request.method == "GET":
            return await self._read(request)
        if request.method not in WRITES or not request.segments:
            raise method_not_allowed(request)
        return await self._write(request)

    async def _read(self, request: Request) -> Answer:
        if not request.segments:
            return self._reader.service_document(request)
        if request.segments[0].name == "$metadata":
            if self._metadata is None:
                self._metadata = metadata_document(self.app.catalog)
            return Answer(200, XML_HEADERS, self._metadata)
        return await self._reader.read(request)

    async def _write(self, request: Request) -> Answer:
        """The write and its answer become durable together; a repeated request gets the answer of the first."""
        key = request_key(request.headers)
        async with self.app.context(
            request.principal, correlation_id=request.correlation_id, stages=request.stages
        ) as context:
            if key is not None:
                request_digest = digest(request.method, request.path, request.query.encode(), request.body)
                known = await claim(context, key, request_digest)
                if known is not None:
                    return Answer(known.status, (*known.headers, (b"idempotency-replayed", b"true")), known.body)
            answer = await write(self._reader, context, request)
            if key is not None:
                await store(context, key, answer)
            await context.commit()
        if context.deferred:
            return Answer(answer.status, (*answer.headers, (b"isthmus-partner", b"deferred")), answer.body)
        return answer

    def _written_entity(self, request: Request | None) -> str | None:
        """The AOT name of the entity that a request wrote to; None for reads and addresses that name none."""
        if request is None or request.method == "GET" or not request.segments:
            return None
        entity = self.app.catalog.entity_of_collection.get(request.segments[0].name.lower())
        return None if entity is None else entity.aot_name


async def _send(send: Send, answer: Answer, correlation_id: str, stages: Stages) -> None:
    request_id = correlation_id.encode()
    headers: list[Any] = [
        *answer.headers,
        (b"x-ms-request-id", request_id),
        (b"ms-dyn-aid", request_id),
        (b"server-timing", stages.server_timing().encode()),
    ]
    if answer.status not in (204, 304):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
