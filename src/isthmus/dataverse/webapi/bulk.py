"""CreateMultiple, UpdateMultiple and UpsertMultiple: many rows of one table, all or none, in as few statements as if
they were one. (Deletes of many rows are asked for by other means.)"""

from __future__ import annotations

from uuid import UUID

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.apps.odata_answer import Answer, json_answer, no_content
from isthmus.dataverse.alternate_keys import find_by_keys
from isthmus.dataverse.schema import sql_name
from isthmus.dataverse.webapi.deep_insert import insert, resolve_references
from isthmus.dataverse.webapi.payload import Payload, decode_body, read_payload
from isthmus.dataverse.webapi.request import Request
from isthmus.dataverse.webapi.row_keys import RowKey, key_of_address
from isthmus.dataverse.webapi.service import Service
from isthmus.errors import NotFound, Rejected
from isthmus.metadata.table import Table
from isthmus.query.quoting import quote_identifier

MAX_TARGETS = 1000
"""Rows of one message."""

CREATE = "Microsoft.Dynamics.CRM.CreateMultiple"
UPDATE = "Microsoft.Dynamics.CRM.UpdateMultiple"
UPSERT = "Microsoft.Dynamics.CRM.UpsertMultiple"
BULK_MESSAGES = frozenset({CREATE, UPDATE, UPSERT})


async def run_bulk(service: Service, context: Context, request: Request, table: Table, message: str) -> Answer:
    """Run one of the messages on the `Targets` of the body."""
    payloads = _targets(service, request, table)
    if message == CREATE:
        rows = await insert(context, service.relations, payloads)
        body = {
            "@odata.context": f"{request.base}/$metadata#Microsoft.Dynamics.CRM.CreateMultipleResponse",
            "Ids": [row.id for row in rows],
        }
        return json_answer(body)
    if message == UPDATE:
        ids = await _ids_of(service, context, table, payloads)
        missing = next((payload for row_id, payload in zip(ids, payloads, strict=True) if row_id is None), None)
        if missing is not None:
            raise NotFound(
                f"A record with the specified key values does not exist in {table.logical_name} entity: "
                f"{missing.address}.",
                code="key_row_not_found",
                table=table.logical_name,
            )
        await _update(service, context, table, [(row_id, p) for row_id, p in zip(ids, payloads, strict=True) if row_id])
    else:
        await _upsert(service, context, table, payloads)
    return no_content()


def _targets(service: Service, request: Request, table: Table) -> list[Payload]:
    body = decode_body(request.body)
    targets = body.get("Targets") if isinstance(body, dict) else None
    if not isinstance(targets, list) or not targets:
        raise Rejected('The body must hold the rows: {"Targets": [{...}, ...]}.', code="payload_syntax")
    if len(targets) > MAX_TARGETS:
        raise Rejected(
            f"{len(targets)} rows are too many for one request: send at most {MAX_TARGETS}.", code="too_many_rows"
        )
    return [read_payload(service.catalog, table, target) for target in targets]


async def _ids_of(service: Service, context: Context, table: Table, payloads: list[Payload]) -> list[UUID | None]:
    """The id that each row gives, or that its alternate key finds; None where its key finds no row.

    The values of keys become values of the rows, for those that will be created.
    """
    ids: list[UUID | None] = []
    by_columns: dict[frozenset[str], list[int]] = {}
    keys = [_key_of(service, table, payload) for payload in payloads]
    for number, key in enumerate(keys):
        ids.append(key.id)
        if key.id is None:
            by_columns.setdefault(frozenset(key.values), []).append(number)
    for numbers in by_columns.values():
        found = await find_by_keys(table, [keys[number].values for number in numbers], context.transaction.rows)
        for number, row_id in zip(numbers, found, strict=True):
            ids[number] = row_id
            payloads[number].values.update(keys[number].values)
    return ids


def _key_of(service: Service, table: Table, payload: Payload) -> RowKey:
    if payload.address is None:
        row_id = payload.values.get(table.primary_id)
        if row_id is None:
            raise Rejected(
                f"Each row must say which one it is, by '{table.primary_id}' or '@odata.id'.",
                code="payload_property",
                table=table.logical_name,
            )
        return RowKey(table, id=row_id)
    key = key_of_address(service.catalog, service.relations, payload.address)
    if key.table is not table:
        raise Rejected(
            f"'@odata.id' {payload.address[:200]} is no row of '{table.entity_set_name}'.",
            code="payload_property",
            table=table.logical_name,
        )
    doubled = ", ".join(sorted(key.values.keys() & payload.values.keys()))
    if doubled:
        raise Rejected(
            f"The key column {doubled} stands both in '@odata.id' and in the row: leave it out of the row.",
            code="key_given_twice",
            table=table.logical_name,
        )
    return key


async def _update(service: Service, context: Context, table: Table, given: list[tuple[UUID, Payload]]) -> None:
    rows: list[Row] = []
    for row_id, payload in given:
        if payload.is_deep:
            raise Rejected("An update can't create or link other rows.", code="payload_property")
        await resolve_references(context, service.relations, payload)
        rows.append(Row(id=row_id, values=payload.values))
    if len({row.id for row in rows}) < len(rows):
        raise Rejected("A row stands twice among the targets: give each row once.", code="payload_property")
    if rows:
        message = Message(operation=Operation.UPDATE, table=table.logical_name, rows=rows)
        await context.app.execute(context, message)


async def _upsert(service: Service, context: Context, table: Table, payloads: list[Payload]) -> None:
    """Rows whose address finds a row are updated, the others created."""
    ids = await _ids_of(service, context, table, payloads)
    present = await _present(context, table, [row_id for row_id in ids if row_id is not None])
    new: list[Payload] = []
    known: list[tuple[UUID, Payload]] = []
    for row_id, payload in zip(ids, payloads, strict=True):
        if row_id is not None and row_id in present:
            known.append((row_id, payload))
        else:
            if row_id is not None:
                payload.values[table.primary_id] = row_id
            new.append(payload)
    if new:
        await insert(context, service.relations, new)
    await _update(service, context, table, known)


async def _present(context: Context, table: Table, ids: list[UUID]) -> set[UUID]:
    sql = (
        f"select {quote_identifier(table.primary_id)} from {sql_name(table)} "  # noqa: S608
        f"where {quote_identifier(table.primary_id)} = any($1::uuid[])"
    )
    return {row[0] for row in await context.transaction.rows(sql, ids)}
