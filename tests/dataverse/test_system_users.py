"""What is kept of system users and owners never outlives what stands in the database."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from tests.support.callers import CALLER

from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.apps.principal import Principal
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.seed import seed
from isthmus.dataverse.system_users import SystemUsers
from isthmus.errors import Rejected


async def test_a_user_who_is_disabled_is_out_whoever_asked_before_the_commit(app: DataverseApp) -> None:
    someone = Principal("user", str(uuid4()), "someone", frozenset({"dataverse"}), float("inf"))
    async with app.pool.origin.acquire() as connection:
        await seed(connection, app.catalog, [someone])
    user = await app.users.of(app.pool.fetch, someone)
    async with app.context(CALLER, correlation_id="test") as context:
        rows = [Row(id=user.id, values={"isdisabled": True})]
        await app.execute(context, Message(operation=Operation.UPDATE, table="systemuser", rows=rows))
        assert await app.users.of(app.pool.fetch, someone) == user, "other requests see what stands until the commit"
        await context.commit()
    with pytest.raises(Rejected) as caught:
        await app.users.of(app.pool.fetch, someone)
    assert caught.value.code == "user_disabled"


async def test_an_owner_who_was_rolled_back_is_none(app: DataverseApp) -> None:
    caller = await app.users.of(app.pool.fetch, CALLER)
    async with app.context(CALLER, correlation_id="test") as context:
        values = {"name": f"T{uuid4().hex[:6]}", "businessunitid": caller.business_unit, "teamtype": 0}
        team = Row(id=uuid4(), values=values)
        await app.execute(context, Message(operation=Operation.CREATE, table="team", rows=[team]))
        account = Row(values={"name": "A", "ownerid": team.id})
        await app.execute(context, Message(operation=Operation.CREATE, table="account", rows=[account]))
    assert team.id is not None
    assert await app.users.owners(app.pool.fetch, [team.id]) == {}  # type: ignore[list-item]  # a team's id is a UUID


async def test_what_is_read_while_a_write_ends_is_not_kept(app: DataverseApp) -> None:
    users = SystemUsers()
    reads = 0

    async def fetch(sql: str, *arguments: Any) -> list[Any]:
        nonlocal reads
        reads += 1
        found = await app.pool.fetch(sql, *arguments)
        if reads == 1:
            users.forget()
        return found

    for _ in range(3):
        await users.of(fetch, CALLER)
    assert reads == 2
