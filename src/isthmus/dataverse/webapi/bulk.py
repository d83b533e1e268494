"""CreateMultiple, UpdateMultiple and UpsertMultiple: many rows of one table, all or none, in as few statements as if
they were one. (Deletes of many rows are asked for by other means.)"""

from __future__ import annotations

from uuid import UUID

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.apps.odata_answer import Answer, json_answer, no_content
from isthmus.dataverse.rows import present
from isthmus.dataverse.webapi.deep_insert import insert, resolve_references
from isthmus.dataverse.webapi.payload import Payload, decode_body, read_payload
from isthmus.dataverse.webapi.request import Request
from isthmus.dataverse.webapi.row_keys import RowKey, find_ids, key_of_address, require_ids
from isthmus.dataverse.webapi.service import Service
from isthmus.errors import Rejected
from isthmus.metadata.table import Table

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
        keys = _keys(service, table, payloads)
        ids = await require_ids(keys, context.transaction.rows)
        await _update(service, context, table, list(zip(ids, payloads, strict=True)))
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


def _keys(service: Service, table: Table, payloads: list[Payload]) -> list[RowKey]:
    """The key that each row gives; its values become values of the row, for those that will be created."""
    keys = [_key_of(service, table, payload) for payload in payloads]
    for key, payload in zip(keys, payloads, strict=True):
        payload.values.update(key.values)
    return keys


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
            raise Rejected(
                "An update can't create or link other rows: send them as requests of their own.",
                code="payload_property",
                table=table.logical_name,
            )
        rows.append(Row(id=row_id, values=payload.values))
    if len({row.id for row in rows}) < len(rows):
        raise Rejected(
            "A row stands twice among the targets: give each row once.",
            code="payload_property",
            table=table.logical_name,
        )
    await resolve_references(context, service.relations, [payload for _, payload in given])
    await context.app.execute(context, Message(operation=Operation.UPDATE, table=table.logical_name, rows=rows))


async def _upsert(service: Service, context: Context, table: Table, payloads: list[Payload]) -> None:
    """Rows whose address finds a row are updated, the others created."""
    ids = await find_ids(_keys(service, table, payloads), context.transaction.rows)
    there = await present(table, {row_id for row_id in ids if row_id is not None}, context.transaction.rows)
    new: list[Payload] = []
    known: list[tuple[UUID, Payload]] = []
    for row_id, payload in zip(ids, payloads, strict=True):
        if row_id is not None and row_id in there:
            known.append((row_id, payload))
        else:
            if row_id is not None:
                payload.values[table.primary_id] = row_id
            new.append(payload)
    if new:
        await insert(context, service.relations, new)
    await _update(service, context, table, known)
