"""The API's own description (OpenAPI 3.1), made from its calls and their types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.responses import Response

import isthmus
from isthmus.dual_write.management_api.endpoint import Endpoint, endpoint, endpoints_of
from isthmus.dual_write.management_api.problem import MEDIA_TYPE, Problem

VERSION = "3.1.0"
_REFERENCE = "#/components/schemas/{name}"


class Description:
    """The description of this API itself."""

    def __init__(self, root: str, endpoints: Iterable[Endpoint]) -> None:
        self._document = document(root, [*endpoints, *endpoints_of(self)])

    @endpoint("GET", "/openapi.json")
    async def describe(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document of all calls."""
        return self._document


def document(root: str, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The description of these calls; `root` is the path they stand below."""
    endpoints = list(endpoints)
    types = [kind for call in endpoints for kind in (call.answer, call.body) if is_schema(kind)]
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template=_REFERENCE)
    of_type = dict(zip(map(repr, types), schemas, strict=False))
    tags = {call.tag: call.tag_description for call in endpoints}
    paths: dict[str, dict[str, Any]] = {}
    for call in endpoints:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, of_type)
    return {
        "openapi": VERSION,
        "info": {
            "title": "Isthmus management",
            "version": isthmus.__version__,
            "description": "Everything an administrator does with table maps.",
        },
        "servers": [{"url": root}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def is_schema(kind: Any) -> bool:
    """Whether a type of an answer, body or query is described by a schema."""
    return kind is not None and not (isinstance(kind, type) and issubclass(kind, Response))


def _operation(call: Endpoint, of_type: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": call.id,
        "tags": [call.tag],
        "summary": call.summary,
        "responses": {str(call.status): _success(call, of_type), "default": _failure()},
    }
    if call.description:
        described["description"] = call.description
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": msgspec.json.schema(kind)}
        for name, kind in call.path_parameters.items()
    ]
    if call.query is not None:
        parameters += _query_parameters(call.query)
    if parameters:
        described["parameters"] = parameters
    if call.body is not None:
        content = {"application/json": {"schema": of_type[repr(call.body)]}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _query_parameters(query: type[msgspec.Struct]) -> list[dict[str, Any]]:
    """A query string is no object: its struct is taken apart."""
    (_,), components = msgspec.json.schema_components([query])
    schema = components[query.__name__]
    found = []
    for name, shape in schema["properties"].items():
        described = {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": shape}
        if "description" in shape:
            described["description"] = shape["description"]
        found.append(described)
    return found


def _success(call: Endpoint, of_type: dict[str, Any]) -> dict[str, Any]:
    if call.answer is None:
        return {"description": "Done."}
    if not is_schema(call.answer):
        return {"description": "Done.", "content": {call.answer.media_type: {"schema": {"type": "string"}}}}
    return {"description": "Done.", "content": {"application/json": {"schema": of_type[repr(call.answer)]}}}


def _failure() -> dict[str, Any]:
    reference = {"$ref": _REFERENCE.format(name="Problem")}
    return {"description": "Why it was not done.", "content": {MEDIA_TYPE: {"schema": reference}}}
