"""POST, PATCH, PUT and DELETE of records, and POST of actions. Each runs inside one transaction, and shapes its answer
before that commits, so that the answer can be kept with the save."""

from __future__ import annotations

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.apps.odata_answer import Answer, json_answer, no_content
from isthmus.errors import Conflict, NotFound, Rejected
from isthmus.finops.actions import RECORD, find_action
from isthmus.finops.odata.answers import record_answer
from isthmus.finops.odata.keys import RecordKey, entity_of_segment
from isthmus.finops.odata.payload import decode_object, read_record
from isthmus.finops.odata.reading import Reader, no_such_segment, record_address, record_not_found
from isthmus.finops.odata.request import Request
from isthmus.finops.relations import NAMESPACE
from isthmus.metadata.entity import Entity


async def write(reader: Reader, context: Context, request: Request) -> Answer:
    """Carry out a write inside `context` and shape its answer; the caller commits."""
    first, *rest = request.segments
    last = request.segments[-1]
    if last.name.startswith(f"{NAMESPACE}.") and request.method == "POST":
        return await _act(reader, context, request)
    entity = entity_of_segment(reader.catalog, first)
    if rest:
        raise no_such_segment(rest[0])
    if first.arguments is None:
        if request.method != "POST":
            raise method_not_allowed(request)
        return await _create(reader, context, request, entity)
    key = reader.key(entity, first)
    match request.method:
        case "PATCH" | "PUT":
            return await _update(reader, context, request, key)
        case "DELETE":
            return await _delete(reader, context, request, key)
    raise method_not_allowed(request)


async def _create(reader: Reader, context: Context, request: Request, entity: Entity) -> Answer:
    """POST to an entity set: 201 with the record as business logic, of both halves, has left it."""
    with request.stages.stage("parse"):
        row = Row(values=read_record(entity, request.body))
    await _execute(context, Operation.CREATE, entity, row)
    await context.settle()
    with request.stages.stage("shape"):
        stored = row.after or {}
        key = RecordKey(entity, {name.lower(): stored[name.lower()] for name in entity.keys})
        asked = reader.planner.ask_one(entity.aot_name, key.values)
        record = await context.transaction.value(asked.sql, *asked.arguments)
        location = (b"location", record_address(request.base, key).encode())
        return record_answer(request.base, f"{entity.collection}/$entity", record, status=201, headers=(location,))


async def _update(reader: Reader, context: Context, request: Request, key: RecordKey) -> Answer:
    """PATCH and PUT: both change the fields given and leave the others, as F&O does."""
    with request.stages.stage("parse"):
        values = read_record(key.entity, request.body)
    row = await _row(reader, context, request, key)
    row.values = values
    await _execute(context, Operation.UPDATE, key.entity, row)
    return no_content()


async def _delete(reader: Reader, context: Context, request: Request, key: RecordKey) -> Answer:
    await _execute(context, Operation.DELETE, key.entity, await _row(reader, context, request, key))
    return no_content()


async def _row(reader: Reader, context: Context, request: Request, key: RecordKey) -> Row:
    """The record that the address names, in the version that If-Match names."""
    recid = await _find(reader, context, request, key)
    expected = request.expected_etag
    if expected is not None and expected[1] != recid:
        raise Conflict(
            f"The ETag in If-Match is that of another record than {key.entity.public_name} of this key. Read it again.",
            code="version_mismatch",
        )
    return Row(id=recid, version=expected[0] if expected else None)


async def _find(reader: Reader, context: Context, request: Request, key: RecordKey) -> int:
    if not request.cross_company and key.company not in (None, reader.app.default_company):
        raise record_not_found(key)
    (recid,) = await reader.app.find(context.transaction, key.entity.aot_name, [dict(key.values)])
    if recid is None:
        raise record_not_found(key)
    return recid


async def _execute(context: Context, operation: Operation, entity: Entity, row: Row) -> None:
    await context.app.execute(context, Message(operation=operation, table=entity.aot_name, rows=[row]))


async def _act(reader: Reader, context: Context, request: Request) -> Answer:
    """POST of an action on the entity set or the record that it is bound to."""
    bound, *rest = request.segments
    if len(rest) != 1:
        raise no_such_segment(rest[0] if rest else bound)
    name = rest[0].name.removeprefix(f"{NAMESPACE}.")
    action = find_action(bound.name, name)
    if action is None:
        raise no_such_segment(rest[0])
    recid = None
    if (bound.arguments is not None) != (action.binding == RECORD):
        wanted = "a record" if action.binding == RECORD else "the entity set"
        raise NotFound(f"The action '{name}' is bound to {wanted}.", code="segment_not_found")
    if action.binding == RECORD:
        key = reader.key(entity_of_segment(reader.catalog, bound), bound)
        recid = await _find(reader, context, request, key)
    given = {name.lower(): value for name, value in decode_object(request.body).items()}
    result = await action.handler(reader.app, context, recid, given)
    if action.result is None:
        return no_content()
    return json_answer({"@odata.context": f"{request.base}/$metadata#{action.result}", "value": result})


def method_not_allowed(request: Request) -> Rejected:
    """The error for a method that the address has no use for."""
    return Rejected(f"The method {request.method} is not allowed on '{request.path}'.", code="method_not_allowed")
