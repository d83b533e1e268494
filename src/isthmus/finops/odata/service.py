"""OData as an ASGI callable: one request, one straight line of named stages.

parse -> plan -> main -> shape for reads; parse -> validate -> lock -> main -> sync -> shape -> commit for writes. Each
is timed into the `Server-Timing` header.
"""

from __future__ import annotations

import re
from functools import partial

from isthmus.apps.again import run_again
from isthmus.apps.odata_answer import JSON_HEADERS, XML_HEADERS, Answer
from isthmus.apps.odata_root import ODataRoot
from isthmus.errors import IsthmusError
from isthmus.finops.app import FinopsApp
from isthmus.finops.odata.csdl import metadata_document
from isthmus.finops.odata.errors import wire_error
from isthmus.finops.odata.reading import Reader
from isthmus.finops.odata.request import Request
from isthmus.finops.odata.writing import method_not_allowed, write

WRITES = frozenset({"POST", "PATCH", "PUT", "DELETE"})


class ODataService(ODataRoot[Request]):
    """Serves `/data` and what is below it."""

    root = re.compile(r"(?P<root>/data)(?:/(?P<path>.*))?", re.IGNORECASE | re.DOTALL)
    place = "/data"
    request_type = Request
    request_id_headers = (b"x-ms-request-id", b"ms-dyn-aid")

    def __init__(self, app: FinopsApp) -> None:
        super().__init__(app)
        self.app = app
        self._reader = Reader(app)
        self._metadata: bytes | None = None

    async def answer(self, request: Request) -> Answer:
        """Read or write as the request asks."""
        if request.method == "GET":
            return await self._read(request)
        if request.method not in WRITES or not request.segments:
            raise method_not_allowed(request)
        return await run_again(partial(self._write, request))

    def failure(self, error: IsthmusError | None, correlation_id: str, request: Request | None) -> Answer:
        """An error in F&O's shape."""
        failure = wire_error(error, correlation_id, self._written_entity(request))
        return Answer(failure.status, (*JSON_HEADERS, *failure.headers), failure.body)

    async def _read(self, request: Request) -> Answer:
        if not request.segments:
            return self._reader.service_document(request)
        if request.segments[0].name == "$metadata":
            if self._metadata is None:
                self._metadata = metadata_document(self.app.catalog)
            return Answer(200, XML_HEADERS, self._metadata)
        return await self._reader.read(request)

    async def _write(self, request: Request) -> Answer:
        """The write and its answer become durable together."""
        async with self.app.context(
            request.principal, correlation_id=request.correlation_id, stages=request.stages
        ) as context:
            return await self.write_once(context, request, partial(write, self._reader, context, request))

    def _written_entity(self, request: Request | None) -> str | None:
        """The AOT name of the entity that a request wrote to; None for reads and addresses that name none."""
        if request is None or request.method == "GET" or not request.segments:
            return None
        entity = self.app.catalog.entity_of_collection.get(request.segments[0].name.lower())
        return None if entity is None else entity.aot_name
