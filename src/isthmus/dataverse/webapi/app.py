"""The Web API as an ASGI callable: one request, one straight line of named stages.

parse -> plan -> main -> shape for reads; parse -> main -> sync -> shape -> commit for writes (shape before sync where
the answer does not show the row). Each is timed into the `Server-Timing` header.
"""

from __future__ import annotations

import re
from functools import partial

from isthmus.apps.again import run_again
from isthmus.apps.odata_answer import JSON_HEADERS, XML_HEADERS, Answer, json_answer
from isthmus.apps.odata_root import ODataRoot
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.system_users import SystemUser
from isthmus.dataverse.webapi.csdl import metadata_document
from isthmus.dataverse.webapi.definitions_service import ROOTS, Definitions, read_definitions
from isthmus.dataverse.webapi.errors import wire_error
from isthmus.dataverse.webapi.functions import function_named
from isthmus.dataverse.webapi.reading import read
from isthmus.dataverse.webapi.request import Request
from isthmus.dataverse.webapi.row_keys import no_such_segment
from isthmus.dataverse.webapi.service import Service
from isthmus.dataverse.webapi.writing import method_not_allowed, write
from isthmus.errors import Conflict, IsthmusError

ATTEMPTS = 2
"""An upsert that loses a race to create its row is run once more: it then updates that row."""


class WebApi(ODataRoot[Request]):
    """Serves `/api/data/v9.0` to `/api/data/v9.2`."""

    root = re.compile(r"(?P<root>/api/data/v9\.[0-2])(?:/(?P<path>.*))?", re.IGNORECASE | re.DOTALL)
    place = "/api/data/v9.2/"
    request_type = Request
    request_id_headers = (b"x-ms-service-request-id", b"req_id")

    def __init__(self, app: DataverseApp) -> None:
        super().__init__(app)
        self.app = app
        self._service = Service(app)
        self._definitions = Definitions(app.catalog)
        self._metadata: bytes | None = None

    async def answer(self, request: Request) -> Answer:
        """Read or write as the request asks."""
        user = await self.app.users.of(self._service.fetch, request.principal)
        if request.method == "GET":
            return await self._read(request, user)
        if request.method not in ("POST", "PATCH", "PUT", "DELETE") or not request.segments:
            raise method_not_allowed(request)
        if request.segments[0].name.lower() in ROOTS:
            raise method_not_allowed(request)
        return await run_again(partial(self._write, request, user))

    def failure(self, error: IsthmusError | None, correlation_id: str, request: Request | None) -> Answer:
        """An error in Dataverse's shape."""
        failure = wire_error(error, correlation_id)
        return Answer(failure.status, (*JSON_HEADERS, *failure.headers), failure.body)

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
        """The write and its answer become durable together."""
        for attempt in range(1, ATTEMPTS + 1):
            context = self.app.context(request.principal, correlation_id=request.correlation_id, stages=request.stages)
            try:
                async with context:
                    return await self.write_once(
                        context, request, partial(write, self._service, context, request, user)
                    )
            except Conflict as error:
                if attempt == ATTEMPTS or not _lost_race(request, error):
                    raise
        raise AssertionError("the loop returns or raises")

    def _service_document(self, request: Request) -> Answer:
        sets = sorted(table.entity_set_name for table in self.app.catalog.tables.values())
        return json_answer(
            {
                "@odata.context": f"{request.base}/$metadata",
                "value": [{"name": name, "kind": "EntitySet", "url": name} for name in sets],
            }
        )


def _lost_race(request: Request, error: Conflict) -> bool:
    """Whether an upsert found no row and could then not create it, because somebody else just had."""
    return (
        request.method == "PATCH"
        and error.code in ("duplicate_key", "duplicate_id")
        and not request.only_new
        and not request.only_existing
    )
