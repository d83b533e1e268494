"""POST, PATCH, PUT and DELETE of rows, properties and references. Each runs inside one transaction, and shapes its
answer before that commits, so that the answer can be kept with the save."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.apps.odata_answer import JSON_HEADERS, Answer, etag_of, no_content, with_context
from isthmus.dataverse.rows import present
from isthmus.dataverse.system_users import SystemUser
from isthmus.dataverse.webapi.answers import entity_id
from isthmus.dataverse.webapi.bulk import BULK_MESSAGES, run_bulk
from isthmus.dataverse.webapi.deep_insert import insert, leading_to, link, lookup_values, point_at, resolve_references
from isthmus.dataverse.webapi.json_values import from_json
from isthmus.dataverse.webapi.payload import Payload, decode_body, read_payload
from isthmus.dataverse.webapi.reading import row_record
from isthmus.dataverse.webapi.request import Request
from isthmus.dataverse.webapi.row_keys import (
    RowKey,
    find_ids,
    key_of_address,
    no_such_segment,
    require_id,
    row_key,
    table_of_segment,
)
from isthmus.dataverse.webapi.service import Service
from isthmus.errors import Conflict, NotFound, Rejected
from isthmus.metadata.relationship import OneToMany
from isthmus.metadata.table import Table
from isthmus.query.odata import decode_options
from isthmus.query.odata_path import Segment


async def write(service: Service, context: Context, request: Request, user: SystemUser) -> Answer:
    """Carry out a write inside `context` and shape its answer; the caller commits."""
    first, *rest = request.segments
    table = table_of_segment(service.catalog, first)
    if first.arguments is None:
        if request.method == "POST" and not rest:
            return await create(service, context, request, user, table)
        if request.method == "POST" and len(rest) == 1 and rest[0].name in BULK_MESSAGES:
            with request.stages.stage("main"):
                return await run_bulk(service, context, request, table, rest[0].name)
        raise method_not_allowed(request) if not rest else no_such_segment(rest[0])
    key = row_key(table, service.relations[table.logical_name], first)
    if rest:
        with request.stages.stage("main"):
            return await _write_below(service, context, request, user, key, rest)
    match request.method:
        case "PATCH":
            return await upsert(service, context, request, user, key)
        case "DELETE":
            with request.stages.stage("main"):
                row = Row(id=await require_id(key, context.transaction.rows), version=request.expected_version)
                await _execute(context, Operation.DELETE, table, [row])
            return no_content()
    raise method_not_allowed(request)


async def create(service: Service, context: Context, request: Request, user: SystemUser, table: Table) -> Answer:
    """POST to an entity set: a row, with the rows nested in it."""
    with request.stages.stage("parse"):
        payload = read_payload(service.catalog, table, decode_body(request.body))
    preferences = request.preferences
    show = preferences.representation and not preferences.annotations and not request.query
    with request.stages.stage("main"):
        (row,) = await insert(context, service.relations, [payload], show=show)
    return await _written(service, context, request, user, table, row.id, created=True, shown=row.shown)


async def upsert(service: Service, context: Context, request: Request, user: SystemUser, key: RowKey) -> Answer:
    """PATCH of a row: update it, or create it when it isn't there, unless If-Match or If-None-Match forbid one."""
    table = key.table
    with request.stages.stage("parse"):
        payload = read_payload(service.catalog, table, decode_body(request.body))
    with request.stages.stage("main"):
        (row_id,) = await find_ids([key], context.transaction.rows)
        must_exist = request.only_existing or request.expected_version is not None
        created = row_id is None
        if request.only_new and row_id is not None and await present(table, [row_id], context.transaction.rows):
            raise Conflict(
                f"A record with matching key values already exists in table '{table.logical_name}', and the request "
                "asks for a new one (If-None-Match: *).",
                code="row_exists",
                table=table.logical_name,
            )
        if row_id is not None and not request.only_new:
            created = not await _update(service, context, request, payload, key, row_id, must_exist=must_exist)
        if created and must_exist:
            await require_id(key, context.transaction.rows)
        if created or request.only_new:
            payload.values.update(key.values or {table.primary_id: row_id})
            (row,) = await insert(context, service.relations, [payload])
            created, row_id = True, row.id  # type: ignore[assignment]  # a Dataverse row's id is a UUID
    return await _written(service, context, request, user, table, row_id, created=created)


async def _update(
    service: Service,
    context: Context,
    request: Request,
    payload: Payload,
    key: RowKey,
    row_id: UUID,
    *,
    must_exist: bool,
) -> bool:
    """Update a row; False when it isn't there and need not be. Nothing is written before that is known."""
    if payload.is_deep:
        raise Rejected(
            "An update can't create or link other rows: send them as requests of their own.",
            code="payload_property",
            table=key.table.logical_name,
        )
    await resolve_references(context, service.relations, [payload])
    values = {name: value for name, value in payload.values.items() if name not in key.values}
    row = Row(id=row_id, values=values, version=request.expected_version)
    try:
        await _execute(context, Operation.UPDATE, key.table, [row])
    except NotFound as error:
        if must_exist or error.code != "row_not_found" or error.details.get("id") != str(row_id):
            raise
        payload.references.clear()
        return False
    return True


async def _written(
    service: Service,
    context: Context,
    request: Request,
    user: SystemUser,
    table: Table,
    row_id: UUID | int | None,
    *,
    created: bool,
    shown: str | None = None,
) -> Answer:
    """204 with the row's address, or the row itself when the caller prefers to see it: as both halves left it.

    `shown` is the row as it was written; it is the answer when nothing else was.
    """
    if request.preferences.representation:
        await context.settle()
    with request.stages.stage("shape"):
        address = entity_id(request.base, table, row_id)
        location = ((b"location", address[1]),) if created else ()
        preferences = request.preferences
        if not preferences.representation:
            return no_content((address, *location))
        select_list = ""
        record = shown if len(context.changes) == 1 else None
        if record is None:
            key = RowKey(table, id=row_id)  # type: ignore[arg-type]  # a Dataverse row's id is a UUID
            record, select_list = await row_record(service, request, user, key, context.transaction.rows)
        body = with_context(request.base, f"{table.entity_set_name}{select_list}/$entity", record)
        headers = (*JSON_HEADERS, address, *location, (b"preference-applied", preferences.applied or b""))
        etag = etag_of(record)
        return Answer(201 if created else 200, headers if etag is None else (*headers, (b"etag", etag)), body)


async def _write_below(
    service: Service, context: Context, request: Request, user: SystemUser, key: RowKey, rest: list[Segment]
) -> Answer:
    """Writes to a property, or to what a navigation property leads to."""
    table, name = key.table, rest[0].name.lower()
    lookup = service.catalog.lookups_of.get(table.logical_name, {}).get(name)
    collection = service.catalog.collections_of.get(table.logical_name, {}).get(name)
    is_reference = len(rest) == 2 and rest[1].name == "$ref"
    if lookup is not None and is_reference:
        return await _write_lookup(service, context, request, key, lookup)
    if collection is not None and is_reference:
        return await _write_collection(service, context, request, key, collection, rest[0])
    if collection is not None and len(rest) == 1 and request.method == "POST":
        return await _create_related(service, context, request, user, key, collection)
    if len(rest) == 1 and name in table.column and lookup is None:
        return await _write_property(service, context, request, key, name)
    raise no_such_segment(rest[-1])


async def _write_lookup(service: Service, context: Context, request: Request, key: RowKey, lookup: OneToMany) -> Answer:
    """PUT and DELETE of `/accounts(...)/primarycontactid/$ref`."""
    row_id = await require_id(key, context.transaction.rows)
    target: UUID | None = None
    if request.method in ("PUT", "POST"):
        address = _given_address(request)
        target_key = key_of_address(service.catalog, service.relations, address)
        lookup = leading_to(service.catalog, lookup, target_key.table)
        target = await require_id(target_key, context.transaction.rows)
    elif request.method != "DELETE":
        raise method_not_allowed(request)
    row = Row(id=row_id, values=lookup_values(key.table, lookup, target))
    await _execute(context, Operation.UPDATE, key.table, [row])
    return no_content()


async def _write_collection(
    service: Service, context: Context, request: Request, key: RowKey, collection: OneToMany, segment: Segment
) -> Answer:
    """POST and DELETE of `/accounts(...)/contact_customer_accounts/$ref`."""
    row_id = await require_id(key, context.transaction.rows)
    if request.method == "POST":
        await link(context, service.relations, collection, row_id, [_given_address(request)])
        return no_content()
    if request.method != "DELETE":
        raise method_not_allowed(request)
    referencing = service.catalog.table(collection.referencing)
    if segment.arguments:
        member = row_key(referencing, service.relations[referencing.logical_name], segment)
    else:
        member = key_of_address(service.catalog, service.relations, _address_in_query(request))
        _check_table(member, referencing.logical_name, collection.collection_navigation)
    member_id = await require_id(member, context.transaction.rows)
    row = Row(id=member_id, values=lookup_values(referencing, collection, None))
    await _execute(context, Operation.UPDATE, referencing, [row])
    return no_content()


async def _create_related(
    service: Service, context: Context, request: Request, user: SystemUser, key: RowKey, collection: OneToMany
) -> Answer:
    """POST to a collection of a row: a new row that points at it."""
    referencing = service.catalog.table(collection.referencing)
    payload = read_payload(service.catalog, referencing, decode_body(request.body))
    point_at(service.catalog, payload, collection, await require_id(key, context.transaction.rows))
    (row,) = await insert(context, service.relations, [payload])
    return await _written(service, context, request, user, referencing, row.id, created=True)


async def _write_property(service: Service, context: Context, request: Request, key: RowKey, name: str) -> Answer:
    """PUT and DELETE of a single column."""
    column = key.table.column[name]
    value: Any = None
    if request.method == "PUT":
        body = decode_body(request.body)
        if not isinstance(body, dict) or "value" not in body:
            raise Rejected(
                'The body for a property is an object with its value: {"value": ...}.', code="payload_syntax"
            )
        value = from_json(key.table, column, body["value"])
    elif request.method != "DELETE":
        raise method_not_allowed(request)
    row_id = await require_id(key, context.transaction.rows)
    row = Row(id=row_id, values={name: value}, version=request.expected_version)
    await _execute(context, Operation.UPDATE, key.table, [row])
    return no_content()


async def _execute(context: Context, operation: Operation, table: Table, rows: list[Row]) -> None:
    await context.app.execute(context, Message(operation=operation, table=table.logical_name, rows=rows))


def _given_address(request: Request) -> str:
    body = decode_body(request.body)
    address = body.get("@odata.id") if isinstance(body, dict) else None
    if not isinstance(address, str):
        raise Rejected('The body of a $ref request is {"@odata.id": "<address of a row>"}.', code="payload_syntax")
    return address


def _address_in_query(request: Request) -> str:
    for name, text in decode_options(request.query):
        if name.lower() == "$id":
            return text
    raise Rejected(
        "Say which row to disassociate: by its key behind the navigation property, or by ?$id=<address of the row>.",
        code="query_syntax",
    )


def _check_table(key: RowKey, expected: str, navigation: str) -> None:
    if key.table.logical_name != expected:
        raise Rejected(
            f"'{navigation}' leads to rows of '{expected}', not of '{key.table.logical_name}'.", code="lookup_target"
        )


def method_not_allowed(request: Request) -> Rejected:
    """The error for a method that the address has no use for."""
    return Rejected(f"The method {request.method} is not allowed on '{request.path}'.", code="method_not_allowed")
