"""What the two OData roots have in common: an ASGI callable that makes a request of a scope, has it answered, and
turns errors into answers; and the write that becomes durable together with its answer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar
from uuid import uuid4

import asyncpg

from isthmus.apps.context import Context
from isthmus.apps.idempotency import claim, digest, request_key, store
from isthmus.apps.odata_answer import Answer
from isthmus.apps.odata_request import ODataRequest, Receive, Scope, Send, read_body
from isthmus.apps.port import App
from isthmus.apps.principal import ANONYMOUS
from isthmus.errors import Bug, IsthmusError, NotFound, Rejected, Unavailable
from isthmus.observe import Stages, log
from isthmus.query.odata_path import parse_path
from isthmus.store.transaction import NO_CONNECTION

RequestType = TypeVar("RequestType", bound=ODataRequest)


class ODataRoot(ABC, Generic[RequestType]):
    """One half on the wire. `scope["isthmus.principal"]` says who calls.

    `root` matches a whole path, with the groups `root` and `path`; `request_id_headers` carry the correlation id.
    """

    root: re.Pattern[str]
    place: str
    request_type: type[RequestType]
    request_id_headers: tuple[bytes, ...]

    def __init__(self, app: App) -> None:
        self._half_app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        correlation_id = str(uuid4())
        stages = Stages()
        request: RequestType | None = None
        try:
            with stages.stage("parse"):
                request = await self._request(scope, receive, correlation_id, stages)
            answer = await self.answer(request)
        except Exception as error:
            known = known_error(error)
            if known is None or isinstance(known, Bug):
                log.error("request_failed", half=self._half_app.half, correlation_id=correlation_id, exc_info=error)
            answer = self.failure(known, correlation_id, request)
        await self._send(send, answer, correlation_id, stages)

    @abstractmethod
    async def answer(self, request: RequestType) -> Answer:
        """Read or write as the request asks."""

    @abstractmethod
    def failure(self, error: IsthmusError | None, correlation_id: str, request: RequestType | None) -> Answer:
        """An error in the half's own shape; None is one we do not know, which the log has."""

    async def write_once(
        self, context: Context, request: RequestType, write: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Write and commit inside `context`. A request that repeats a key gets the answer of the first instead."""
        key = request_key(request.headers)
        if key is not None:
            request_digest = digest(request.method, request.path, request.query.encode(), request.body)
            known = await claim(context, key, request_digest)
            if known is not None:
                return known.with_header(b"idempotency-replayed", b"true")
        answer = await write()
        if key is not None:
            await store(context, key, answer)
        await context.commit()
        return answer.with_header(b"isthmus-partner", b"deferred") if context.deferred else answer

    async def _request(self, scope: Scope, receive: Receive, correlation_id: str, stages: Stages) -> RequestType:
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        found = self.root.fullmatch(raw.decode("latin-1"))
        if found is None:
            raise NotFound(
                f"There is no service at '{scope['path']}': it is at {self.place}.", code="segment_not_found"
            )
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"localhost").decode("latin-1")
        method: str = scope["method"]
        path = found["path"] or ""
        return self.request_type(
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

    async def _send(self, send: Send, answer: Answer, correlation_id: str, stages: Stages) -> None:
        request_id = correlation_id.encode()
        headers: list[Any] = [
            *answer.headers,
            *((name, request_id) for name in self.request_id_headers),
            (b"server-timing", stages.server_timing().encode()),
        ]
        if answer.status not in (204, 304):
            headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def known_error(error: Exception) -> IsthmusError | None:
    """An error of ours, made out of the driver's where that has a plain meaning; None for what nobody foresaw."""
    if isinstance(error, IsthmusError):
        return error
    is_bad_value = isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)
    if is_bad_value or isinstance(error, asyncpg.DataError):
        return Rejected(f"A value of the request is out of range: {error}.", code="value_out_of_range")
    if isinstance(error, NO_CONNECTION):
        return Unavailable(f"The database does not answer: {error}. Send the same request again.")
    if isinstance(error, asyncpg.QueryCanceledError):
        return Unavailable("The request took longer than it may. Ask for less, or send it again later.")
    return None
