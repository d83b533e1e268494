"""Messages: many rows at once, their images, their changes, and what must not be written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.support.callers import CALLER

from isthmus.apps.change import Change, Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.apps.pipeline import Stage, Step
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.behaviour.audit import UPDATE_COLUMNS
from isthmus.errors import Conflict, NotFound, Rejected, Retriable

Create = Callable[..., Awaitable[UUID]]
Read = Callable[..., Awaitable[dict[str, Any]]]
Write = Callable[..., Awaitable[list[Change]]]


async def test_many_rows_are_created_and_updated_each_with_its_own_columns(write: Write, read: Read) -> None:
    rows = [Row(values={"name": f"N{number}"}) for number in range(50)]
    rows[7].values["telephone1"] = "1"
    changes = await write(Operation.CREATE, "account", *rows)
    assert [change.id for change in changes] == [row.id for row in rows]
    assert "telephone1" in changes[7].columns
    assert "telephone1" not in changes[8].columns
    updates = [Row(id=row.id, values={"name": "same"}) for row in rows]
    updates[3].values = {"telephone1": "3"}
    changes = await write(Operation.UPDATE, "account", *updates)
    assert changes[3].columns - UPDATE_COLUMNS == {"telephone1"}
    assert changes[4].columns - UPDATE_COLUMNS == {"name"}
    assert changes[4].before is not None
    assert changes[4].before["name"] == "N4"
    assert (await read("account", rows[3].id))["name"] == "N3"


async def test_an_update_without_news_is_written_but_no_change(create: Create, read: Read, write: Write) -> None:
    row_id = await create("account", name="A")
    before = await read("account", row_id)
    assert await write(Operation.UPDATE, "account", Row(id=row_id, values={"name": "A"})) == []
    assert (await read("account", row_id))["versionnumber"] > before["versionnumber"]


async def test_row_versions_guard_updates_and_deletes(create: Create, read: Read, write: Write) -> None:
    row_id = await create("account", name="A")
    version = (await read("account", row_id))["versionnumber"]
    await write(Operation.UPDATE, "account", Row(id=row_id, values={"name": "B"}, version=version))
    for operation, values in ((Operation.UPDATE, {"name": "C"}), (Operation.DELETE, {})):
        with pytest.raises(Conflict) as caught:
            await write(operation, "account", Row(id=row_id, values=values, version=version))
        assert caught.value.code == "version_mismatch"
    assert (await read("account", row_id))["name"] == "B"


async def test_missing_rows_are_named(write: Write, create: Create, read: Read) -> None:
    present, absent = await create("account", name="A"), uuid4()
    for operation in (Operation.UPDATE, Operation.DELETE):
        with pytest.raises(NotFound) as caught:
            await write(operation, "account", Row(id=present), Row(id=absent))
        assert caught.value.details["id"] == str(absent)
    assert await read("account", present)


async def test_a_refused_row_leaves_none_of_its_batch(write: Write, app: DataverseApp) -> None:
    mark = uuid4().hex
    with pytest.raises(Rejected):
        await write(
            Operation.CREATE, "account", Row(values={"name": mark}), Row(values={"name": mark, "industrycode": 99})
        )
    assert await app.pool.origin.fetchval("select count(*) from dataverse.account where name = $1", mark) == 0


async def test_steps_run_in_order_and_may_change_values(app: DataverseApp, read: Read) -> None:
    other = DataverseApp(app.pool, app.catalog)
    seen: list[str] = []

    def step(stage: Stage, value: str | None = None) -> None:
        async def handler(context: Context, message: Message) -> None:
            seen.append(stage.name)
            if value is not None:
                for row in message.rows:
                    row.values["telephone2"] = value

        other.pipeline.register(
            Step(stage=stage, handler=handler, table="account", images=frozenset({"websiteurl", "name"}))
        )

    step(Stage.POST_OPERATION)
    step(Stage.PRE_OPERATION, "pre")
    step(Stage.PRE_VALIDATION)
    row = Row(values={"name": "A", "telephone2": "given"})
    async with other.context(CALLER, correlation_id="test") as context:
        await other.execute(context, Message(operation=Operation.CREATE, table="account", rows=[row]))
        await context.commit()
    assert seen == ["PRE_VALIDATION", "PRE_OPERATION", "POST_OPERATION"]
    assert (await read("account", row.id))["telephone2"] == "pre"
    (change,) = context.changes
    assert "telephone2" in change.columns
    assert "telephone2" not in change.given
    assert row.after is not None
    assert row.after["websiteurl"] is None


async def test_a_step_that_calls_itself_in_circles_is_stopped(app: DataverseApp, create: Create) -> None:
    other = DataverseApp(app.pool, app.catalog)
    row_id = await create("account", name="A")

    async def again(context: Context, message: Message) -> None:
        values = {"telephone1": uuid4().hex[:10]}
        inner = Message(operation=Operation.UPDATE, table="account", rows=[Row(id=row_id, values=values)])
        await other.execute(context, inner)

    other.pipeline.register(Step(stage=Stage.POST_OPERATION, handler=again, table="account"))
    with pytest.raises(Rejected) as caught:
        async with other.context(CALLER, correlation_id="test") as context:
            message = Message(operation=Operation.UPDATE, table="account", rows=[Row(id=row_id, values={"name": "B"})])
            await other.execute(context, message)
    assert caught.value.code == "too_deep"


async def test_no_row_lock_is_taken_before_the_pre_operation_steps_are_done(app: DataverseApp, create: Create) -> None:
    other = DataverseApp(app.pool, app.catalog)
    row_id = await create("account", name="A")
    locks: list[int] = []

    async def look(context: Context, message: Message) -> None:
        async with app.pool.origin.acquire() as connection, connection.transaction():
            sql = "select accountid from dataverse.account where accountid = $1 for update nowait"
            locks.append(len(await connection.fetch(sql, row_id)))

    other.pipeline.register(Step(stage=Stage.PRE_OPERATION, handler=look, table="account"))
    for operation in (Operation.UPDATE, Operation.DELETE):
        async with other.context(CALLER, correlation_id="test") as context:
            rows = [Row(id=row_id, values={"name": "B"} if operation is Operation.UPDATE else {})]
            await other.execute(context, Message(operation=operation, table="account", rows=rows))
    assert locks == [1, 1]


async def test_writers_of_the_same_rows_queue_whatever_order_they_name_them_in(write: Write, create: Create) -> None:
    ids = [await create("account", name="A") for _ in range(6)]

    async def update(order: list[UUID], name: str) -> None:
        await write(Operation.UPDATE, "account", *(Row(id=row_id, values={"name": name}) for row_id in order))

    writers = [update(ids if number % 2 else ids[::-1], f"W{number}") for number in range(20)]
    outcomes = await asyncio.gather(*writers, return_exceptions=True)
    assert not [outcome for outcome in outcomes if isinstance(outcome, BaseException)]


async def test_a_writer_that_waits_too_long_is_told_to_try_again(
    app: DataverseApp, write: Write, create: Create
) -> None:
    row_id = await create("account", name="A")
    async with app.context(CALLER, correlation_id="test") as context:
        message = Message(operation=Operation.UPDATE, table="account", rows=[Row(id=row_id, values={"name": "B"})])
        await app.execute(context, message)
        with pytest.raises(Retriable):
            await write(Operation.UPDATE, "account", Row(id=row_id, values={"name": "C"}))
        await context.commit()
