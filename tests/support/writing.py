"""Writes through an app as a request does: one context, one message, commit."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from tests.support.callers import CALLER

from isthmus.apps.again import run_again
from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.apps.port import App
from isthmus.apps.principal import Principal


async def create(app: App, table: str, *rows: dict[str, Any]) -> list[Any]:
    """Create rows (by column, or lower-case field) in one transaction; their ids."""
    return await _write(app, Operation.CREATE, table, [Row(values=dict(values)) for values in rows])


async def update(app: App, table: str, changes: dict[UUID | int, dict[str, Any]]) -> None:
    """Update rows by id in one transaction."""
    await _write(app, Operation.UPDATE, table, [Row(id=id_, values=dict(values)) for id_, values in changes.items()])


async def delete(app: App, table: str, *ids: UUID | int) -> None:
    """Delete rows by id in one transaction."""
    await _write(app, Operation.DELETE, table, [Row(id=id_) for id_ in ids])


async def _write(app: App, operation: Operation, table: str, rows: list[Row]) -> list[Any]:
    async def write() -> list[Any]:
        fresh = [Row(id=row.id, values=dict(row.values)) for row in rows]
        async with app.context(CALLER, correlation_id="test") as context:
            await app.execute(context, Message(operation=operation, table=table, rows=fresh))
            await context.commit()
        return [row.id for row in fresh]

    return await run_again(write)


async def call(root: Any, method: str, path: str, body: Any = None, principal: Principal = CALLER) -> tuple[int, Any]:
    """One request to an app, without a socket: status and decoded JSON."""
    received = [{"type": "http.request", "body": b"" if body is None else msgspec.json.encode(body)}]
    sent: list[Any] = []

    async def receive() -> Any:
        return received.pop()

    async def send(part: Any) -> None:
        sent.append(part)

    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "isthmus.principal": principal,
    }
    await root(scope, receive, send)
    return sent[0]["status"], msgspec.json.decode(sent[1]["body"]) if sent[1]["body"] else None
