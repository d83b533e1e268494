"""One call of the management API, declared by the signature of its handler: nothing is written down twice.

A handler's parameters say what a request carries: those that stand in the path as `{name}` are texts, `query` is a
struct of the query string, `body` one of the JSON body, `caller` who asks. What it returns is the answer: a struct or
a list of them (JSON), nothing (status 204), or a `Response` of its own. Its docstring is the documentation.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, get_type_hints

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from isthmus.apps.principal import ANONYMOUS, Principal
from isthmus.dual_write.management_api.reason import reason_of
from isthmus.errors import Rejected

Handler = Callable[..., Awaitable[Any]]
AnyHandler = TypeVar("AnyHandler", bound=Handler)

_MARK = "__management_endpoint__"
_PLACEHOLDER = re.compile(r"{(\w+)}")


class Caller(msgspec.Struct, frozen=True):
    """Who asks, and by which scheme and host (`base`). `draining` is set when the server is about to end: whatever has
    no end of its own ends then. `last_observation` is the id of the last event of a stream that the caller has seen."""

    principal: Principal
    correlation_id: str
    base: str
    draining: asyncio.Event
    last_observation: str = ""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A method and a path below the root of the API, and what a request and its answer look like.

    `answer` is the type of the answer, None for an empty one; `status` the status of success; `path_parameters` the
    types of the parameters in the path, by name.
    """

    id: str
    tag: str
    tag_description: str
    method: str
    path: str
    summary: str
    description: str
    handler: Handler
    status: int
    answer: Any
    query: type[msgspec.Struct] | None
    body: Any
    takes_caller: bool
    path_parameters: dict[str, Any]

    async def call(self, request: Request, body: bytes, correlation_id: str) -> Response:
        """Read the request, have it handled, shape the answer. Raises what the handler raises, and Rejected."""
        arguments: dict[str, Any] = {
            name: _path_parameter(name, request.path_params[name], kind) for name, kind in self.path_parameters.items()
        }
        if self.query is not None:
            arguments["query"] = _query(request, self.query)
        if self.body is not None:
            arguments["body"] = _body(body, self.body)
        if self.takes_caller:
            arguments["caller"] = _caller(request, correlation_id)
        found = await self.handler(**arguments)
        if isinstance(found, Response):
            return found
        if self.answer is None:
            return Response(status_code=204)
        return Response(msgspec.json.encode(found), self.status, media_type="application/json")


def endpoint(method: str, path: str, *, status: int = 200) -> Callable[[AnyHandler], AnyHandler]:
    """Make a method of a noun's class the handler of a call."""

    def mark(handler: AnyHandler) -> AnyHandler:
        setattr(handler, _MARK, (method, path, status))
        return handler

    return mark


def endpoints_of(noun: object) -> list[Endpoint]:
    """The calls that an object's methods handle, in the order they are written in its class."""
    found = []
    for name, function in vars(type(noun)).items():
        if (marked := getattr(function, _MARK, None)) is not None:
            found.append(_read(type(noun), name, function, getattr(noun, name), *marked))
    return found


def _read(owner: type, name: str, function: Any, handler: Handler, method: str, path: str, status: int) -> Endpoint:
    hints = get_type_hints(function)
    summary, _, description = inspect.cleandoc(function.__doc__).partition("\n\n")
    answer = hints["return"]
    return Endpoint(
        id=name,
        tag=re.sub(r"(?<=[a-z])(?=[A-Z])", " ", owner.__name__.removesuffix("Calls")),
        tag_description=inspect.cleandoc(owner.__doc__ or "").partition("\n\n")[0],
        method=method,
        path=path,
        summary=" ".join(summary.split()),
        description=description,
        handler=handler,
        status=204 if answer is type(None) else status,
        answer=None if answer is type(None) else answer,
        query=hints.get("query"),
        body=hints.get("body"),
        takes_caller="caller" in hints,
        path_parameters={name: hints[name] for name in _PLACEHOLDER.findall(path)},
    )


def _caller(request: Request, correlation_id: str) -> Caller:
    scope: Mapping[str, Any] = request.scope
    return Caller(
        scope.get("isthmus.principal", ANONYMOUS),
        correlation_id,
        f"{request.url.scheme}://{request.url.netloc}",
        scope.get("isthmus.draining") or asyncio.Event(),
        request.headers.get("last-event-id", ""),
    )


def _path_parameter(name: str, text: str, kind: Any) -> Any:
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Rejected(
            f"'{text}' in the address can't be used as {name}: {reason_of(error, kind)[0]}.",
            code="query_parameter",
            field=name,
        ) from None


def _query(request: Request, wanted: type[msgspec.Struct]) -> msgspec.Struct:
    lists = {field.encode_name for field in msgspec.structs.fields(wanted) if _is_list(field.type)}
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in lists:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise Rejected(f"The parameter '{name}' is given twice: give it once.", code="query_parameter", field=name)
        else:
            given[name] = value
    known = {field.encode_name for field in msgspec.structs.fields(wanted)}
    for name in given:
        if name not in known:
            raise Rejected(
                f"There is no parameter '{name}' here. Parameters are: {', '.join(sorted(known))}.",
                code="query_parameter",
                field=name,
            )
    try:
        return msgspec.convert(given, wanted, strict=False)
    except msgspec.ValidationError as error:
        reason, place = reason_of(error, wanted)
        field = place.partition("[")[0]
        raise Rejected(
            f"The parameter '{field}' can't be used: {reason}.", code="query_parameter", field=field
        ) from None


def _body(body: bytes, wanted: Any) -> Any:
    try:
        return msgspec.json.decode(body or b"{}", type=wanted)
    except msgspec.ValidationError as error:
        reason, field = reason_of(error, wanted)
        raise Rejected(
            f"The body can't be used{f' at {field}' if field else ''}: {reason}.",
            code="payload_property",
            field=field or None,
        ) from None
    except msgspec.DecodeError as error:
        raise Rejected(f"The body is no JSON: {error}.", code="payload_syntax") from None


def _is_list(kind: Any) -> bool:
    return getattr(kind, "__origin__", kind) in (list, tuple)
