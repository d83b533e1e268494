"""GET of rows: pages, single rows, properties, related rows and counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from isthmus.apps.odata_answer import (
    JSON_HEADERS,
    ODATA_VERSION,
    Answer,
    Headers,
    etag_of,
    json_answer,
    no_content,
    text_answer,
    with_context,
)
from isthmus.dataverse.refusals import row_not_found
from isthmus.dataverse.system_users import Fetch, SystemUser
from isthmus.dataverse.webapi.answers import row_address
from isthmus.dataverse.webapi.preferences import Preferences
from isthmus.dataverse.webapi.request import Request
from isthmus.dataverse.webapi.row_keys import RowKey, no_such_segment, require_id, row_key, table_of_segment
from isthmus.dataverse.webapi.service import COUNT_LIMIT, Service, caller_of, wire_options
from isthmus.errors import Rejected
from isthmus.metadata.relationship import OneToMany
from isthmus.metadata.table import Column, Table
from isthmus.query.odata_path import Segment
from isthmus.query.planner import with_token
from isthmus.query.quoting import quote_identifier

TOTAL = "Microsoft.Dynamics.CRM.totalrecordcount"
TOTAL_EXCEEDED = "Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"

UNSUPPORTED_OPTIONS = ("fetchxml=", "sql=", "savedquery=", "userquery=")


async def read(service: Service, request: Request, user: SystemUser) -> Answer:
    """Answer a GET whose path starts at an entity set."""
    first, *rest = request.segments
    table = table_of_segment(service.catalog, first)
    if first.arguments is None:
        if not rest:
            return await read_page(service, request, user, table, {}, table.entity_set_name)
        if rest[0].name == "$count" and len(rest) == 1:
            return await count(service, request, user, table, {})
        raise no_such_segment(rest[0])
    key = row_key(table, service.relations[table.logical_name], first)
    if not rest:
        return await read_row(service, request, user, key)
    return await _read_below(service, request, user, key, rest)


async def read_page(
    service: Service,
    request: Request,
    user: SystemUser,
    table: Table,
    fixed: Mapping[str, Any],
    context: str,
) -> Answer:
    """A page of the rows of a table whose columns have the `fixed` values."""
    stages, preferences = request.stages, request.preferences
    with stages.stage("plan"):
        _refuse_other_languages(request.query)
        asked = service.planner.ask(
            table.logical_name,
            request.query,
            wire_options(preferences),
            fixed=fixed,
            page_size=preferences.page_size if preferences.sized else None,
            caller=caller_of(user),
        )
    with stages.stage("main"):
        counted = None
        if asked.count_sql is not None:
            counted = (await service.fetch(asked.count_sql, *asked.count_arguments))[0][0]
        page = asked.page(await service.fetch(asked.sql, *asked.arguments))
    with stages.stage("shape"):
        head = f'{{"@odata.context":"{request.base}/$metadata#{context}{asked.plan.select_list}"'
        head += _counts(counted, preferences)
        tail = "]}"
        if page.next_token is not None:
            following = f"{request.base}/{request.path}?{with_token(request.query, page.next_token)}"
            tail = f'],"@odata.nextLink":{msgspec.json.encode(following).decode()}}}'
        body = f'{head},"value":[{page.records}{tail}'.encode()
    return Answer(200, _json_headers(preferences), body)


def _counts(counted: int | None, preferences: Preferences) -> str:
    """`@odata.count` when it was asked for, and Dataverse's annotations about it when they were."""
    text = "" if counted is None else f',"@odata.count":{min(counted, COUNT_LIMIT)}'
    if preferences.wants(TOTAL):
        text += f',"@{TOTAL}":{-1 if counted is None else min(counted, COUNT_LIMIT)}'
    if preferences.wants(TOTAL_EXCEEDED):
        text += f',"@{TOTAL_EXCEEDED}":{"true" if counted is not None and counted > COUNT_LIMIT else "false"}'
    return text


async def read_row(service: Service, request: Request, user: SystemUser, key: RowKey) -> Answer:
    """One row, or 304 when the caller's version still stands and nothing but the row was asked for."""
    with request.stages.stage("main"):
        record, select_list = await row_record(service, request, user, key, service.fetch)
    etag = etag_of(record)
    is_plain = "$expand" not in request.query and not request.preferences.annotations
    if etag is not None and is_plain and request.headers.get(b"if-none-match") == etag:
        return Answer(304, ((b"etag", etag), ODATA_VERSION), b"")
    with request.stages.stage("shape"):
        body = with_context(request.base, f"{key.table.entity_set_name}{select_list}/$entity", record)
    headers = _json_headers(request.preferences)
    return Answer(200, headers if etag is None else (*headers, (b"etag", etag)), body)


async def row_record(
    service: Service, request: Request, user: SystemUser, key: RowKey, fetch: Fetch
) -> tuple[str, str]:
    """The JSON of a row and the list of its properties for the context address; NotFound when it isn't there."""
    columns = {key.table.primary_id: key.id} if key.id is not None else key.values
    asked = service.planner.ask_one(
        key.table.logical_name, columns, request.query, wire_options(request.preferences), caller=caller_of(user)
    )
    found = await fetch(asked.sql, *asked.arguments)
    if not found:
        await require_id(key, fetch)
        raise row_not_found(key.table, key.id)
    return found[0][0], asked.plan.select_list


async def count(service: Service, request: Request, user: SystemUser, table: Table, fixed: Mapping[str, Any]) -> Answer:
    """The number of rows, as text; Dataverse counts to 5000."""
    asked = service.planner.ask_count(table.logical_name, request.query, fixed=fixed, caller=caller_of(user))
    found = await service.fetch(asked.sql, *asked.arguments)
    return text_answer(str(min(found[0][0], COUNT_LIMIT)))


async def _read_below(service: Service, request: Request, user: SystemUser, key: RowKey, rest: list[Segment]) -> Answer:
    """What stands below a row: a property, the rows a navigation property leads to, or their addresses or number."""
    table, name = key.table, rest[0].name.lower()
    column = table.column.get(name) or table.column.get(name.removeprefix("_").removesuffix("_value"))
    lookup = service.catalog.lookups_of.get(table.logical_name, {}).get(name)
    collection = service.catalog.collections_of.get(table.logical_name, {}).get(name)
    last = rest[1].name.lower() if len(rest) > 1 else ""
    if len(rest) > 2 or rest[0].arguments is not None or last not in ("", "$value", "$ref", "$count"):
        raise no_such_segment(rest[-1])
    if lookup is not None and last in ("", "$ref"):
        return await _read_lookup(service, request, user, key, lookup, reference_only=bool(last))
    if collection is not None and last in ("", "$ref", "$count"):
        return await _read_collection(service, request, user, key, collection, last)
    if column is not None and column.is_stored and last in ("", "$value"):
        return await _read_property(service, request, key, column, raw=bool(last))
    raise no_such_segment(rest[0])


async def _read_lookup(
    service: Service, request: Request, user: SystemUser, key: RowKey, lookup: OneToMany, *, reference_only: bool
) -> Answer:
    column = key.table.column[lookup.column]
    values = await stored_values(service, key, service.fetch, column)
    target_id = values[column.name]
    if target_id is None or (column.is_polymorphic and values[column.type_column] != lookup.referenced):
        return no_content()
    target = service.catalog.table(lookup.referenced)
    if reference_only:
        address = row_address(request.base, target, target_id)
        return json_answer({"@odata.context": f"{request.base}/$metadata#$ref", "@odata.id": address})
    return await read_row(service, request, user, RowKey(target, id=target_id))


async def _read_collection(
    service: Service, request: Request, user: SystemUser, key: RowKey, collection: OneToMany, last: str
) -> Answer:
    row_id = await require_id(key, service.fetch)
    await stored_values(service, RowKey(key.table, id=row_id), service.fetch)
    target = service.catalog.table(collection.referencing)
    fixed = {collection.column: row_id}
    if last == "$count":
        return await count(service, request, user, target, fixed)
    if last == "":
        return await read_page(service, request, user, target, fixed, target.entity_set_name)
    asked = service.planner.ask(target.logical_name, f"$select={target.primary_id}", fixed=fixed)
    page = asked.page(await service.fetch(asked.sql, *asked.arguments))
    ids = [record[target.primary_id] for record in msgspec.json.decode(f"[{page.records}]")]
    return json_answer(
        {
            "@odata.context": f"{request.base}/$metadata#Collection($ref)",
            "value": [{"@odata.id": row_address(request.base, target, row_id)} for row_id in ids],
        }
    )


async def _read_property(service: Service, request: Request, key: RowKey, column: Column, *, raw: bool) -> Answer:
    columns = {key.table.primary_id: key.id} if key.id is not None else key.values
    asked = service.planner.ask_one(key.table.logical_name, columns, f"$select={column.wire_name}")
    found = await service.fetch(asked.sql, *asked.arguments)
    if not found:
        raise row_not_found(key.table, await require_id(key, service.fetch))
    record = msgspec.json.decode(found[0][0], type=dict[str, msgspec.Raw])
    value = bytes(record[column.wire_name])
    if value == b"null":
        return no_content()
    if raw:
        decoded = msgspec.json.decode(value)
        return text_answer(decoded if isinstance(decoded, str) else value.decode())
    row_id = bytes(record[key.table.primary_id]).decode().strip('"')
    context = f"{request.base}/$metadata#{key.table.entity_set_name}({row_id})/{column.wire_name}"
    return Answer(200, JSON_HEADERS, f'{{"@odata.context":"{context}","value":'.encode() + value + b"}")


async def stored_values(service: Service, key: RowKey, fetch: Fetch, *columns: Column) -> dict[str, Any]:
    """Physical columns of a row, type columns of polymorphic lookups included; NotFound when it isn't there."""
    row_id = await require_id(key, fetch)
    relation = service.relations[key.table.logical_name]
    names = ", ".join(quote_identifier(name) for column in columns for name in _physical(column)) or "true"
    identity = quote_identifier(key.table.primary_id)
    sql = f"select {names} from {relation.sql_name} where {identity} = $1"  # noqa: S608  (definitions)
    found = await fetch(sql, row_id)
    if not found:
        raise row_not_found(key.table, row_id)
    return dict(found[0])


def _physical(column: Column) -> tuple[str, ...]:
    return (column.name, column.type_column) if column.is_polymorphic else (column.name,)


def _refuse_other_languages(query: str) -> None:
    lower = query.lower()
    for option in UNSUPPORTED_OPTIONS:
        if lower.startswith(option) or f"&{option}" in lower:
            raise Rejected(
                f"Queries by {option[:-1]} are not supported yet: use $filter and its companions.",
                code="not_supported",
            )


def _json_headers(preferences: Preferences) -> Headers:
    if preferences.applied is None:
        return JSON_HEADERS
    return (*JSON_HEADERS, (b"preference-applied", preferences.applied))
