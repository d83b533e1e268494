"""CreateMultiple, UpdateMultiple and UpsertMultiple: many rows of one table, all or none, in as few statements as if
they were one. (Deletes of many rows are asked for by other means.)"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.idempotency import Answer
from isthmus.apps.message import Message, Row
from isthmus.dataverse.webapi.answers import json_answer, no_content
from isthmus.dataverse.webapi.deep_insert import insert, resolve_references
from isthmus.dataverse.webapi.payload import Payload, decode_body, read_payload
from isthmus.dataverse.webapi.reading import row_not_found
from isthmus.dataverse.webapi.request import Request
from isthmus.dataverse.webapi.row_keys import RowKey, find_id, key_of_address
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
        await _update(service, context, table, [(_id_of(table, payload), payload) for payload in payloads])
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


def _id_of(table: Table, payload: Payload) -> UUID:
    row_id = payload.values.pop(table.primary_id, None)
    if row_id is None:
        raise Rejected(
            f"Each row of UpdateMultiple must give its '{table.primary_id}'.",
            code="payload_property",
            table=table.logical_name,
        )
    assert isinstance(row_id, UUID)
    return row_id


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
    """Rows whose address finds a row are updated, the others created, with the values of their key."""
    new: list[Payload] = []
    known: list[tuple[UUID, Payload]] = []
    ids = [payload.values.get(table.primary_id) for payload in payloads]
    present = await _present(context, table, [row_id for row_id in ids if row_id is not None])
    for payload, given_id in zip(payloads, ids, strict=True):
        key = _key_of(service, table, payload, given_id)
        if set(key.values) & payload.values.keys():
            doubled = ", ".join(sorted(set(key.values) & payload.values.keys()))
            raise Rejected(
                f"The key column {doubled} stands both in @odata.id and in the row: leave it out of the row.",
                code="key_given_twice",
                table=table.logical_name,
            )
        row_id = await find_id(key, context.transaction.rows)
        if row_id is not None and key.id is not None and row_id not in present:
            present |= await _present(context, table, [row_id])
        if row_id is None or (key.id is not None and row_id not in present):
            payload.values.update(key.values)
            new.append(payload)
        else:
            payload.values.pop(table.primary_id, None)
            known.append((row_id, payload))
    if new:
        await insert(context, service.relations, new)
    await _update(service, context, table, known)


def _key_of(service: Service, table: Table, payload: Payload, given_id: Any) -> RowKey:
    if payload.address is not None:
        key = key_of_address(service.catalog, service.relations, payload.address)
        if key.table is not table:
            raise row_not_found(table, None)
        if key.id is not None:
            payload.values.setdefault(table.primary_id, key.id)
        return key
    if given_id is None:
        raise Rejected(
            f"Each row of UpsertMultiple must say which one it is, by '@odata.id' or '{table.primary_id}'.",
            code="payload_property",
            table=table.logical_name,
        )
    return RowKey(table, id=given_id)


async def _present(context: Context, table: Table, ids: list[Any]) -> set[UUID]:
    if not ids:
        return set()
    sql = (
        f'select "{table.primary_id}" from dataverse."{table.logical_name}" '  # noqa: S608
        f'where "{table.primary_id}" = any($1::uuid[])'
    )
    return {row[0] for row in await context.transaction.rows(sql, ids)}
