"""An environment with one legal entity and its customer groups, for tests that pause and resume their table map."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
from tests.support.writing import create, update

from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import Stage, Step
from isthmus.apps.principal import Half
from isthmus.dual_write.activity import ActivityFilter
from isthmus.dual_write.requests import Request
from isthmus.environments.environment import Environment
from isthmus.errors import Rejected

GROUPS = "msdyn_customergroups - Customer groups"
TERMS = "msdyn_paymentterms - Terms of payment"
PATIENCE = 60.0
"""Seconds that a test waits for what must happen."""


class Site:
    """`sent` are the messages that table maps sent, oldest first; what describes a group by an `unwelcome` word is
    refused by the Dataverse half."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.dual_write = environment.dual_write
        self.finops, self.dataverse = environment.finops_app, environment.dataverse_app
        self.sent: list[tuple[Half, str, dict[str, Any]]] = []
        self.unwelcome: set[str] = set()
        self.first_entry = 1
        for app in (self.finops, self.dataverse):
            app.pipeline.register(Step(stage=Stage.PRE_VALIDATION, handler=self._note))

    async def _note(self, context: Context, message: Message) -> None:
        if message.through is None:
            return
        self.sent += [(context.half, message.operation.value, dict(row.values)) for row in message.rows]
        if any(row.values.get("msdyn_description") in self.unwelcome for row in message.rows):
            raise Rejected("Such a description is not welcome.", code="unwelcome")

    def descriptions(self, half: Half) -> list[str]:
        """The descriptions that table maps wrote on a half, in order."""
        name = "description" if half == "finops" else "msdyn_description"
        return [values[name] for to, _, values in self.sent if to == half and name in values]

    async def group(self, number: str, description: str = "", **values: Any) -> int:
        given = {"dataareaid": "usmf", "customergroupid": number, "description": description, **values}
        (recid,) = await create(self.finops, "CustCustomerGroupEntity", given)
        return int(recid)

    async def term(self, name: str) -> None:
        await create(
            self.finops, "PaymentTermEntity", {"dataareaid": "usmf", "name": name, "description": f"Net {name}"}
        )

    async def describe(self, recid: int, *descriptions: str) -> None:
        for description in descriptions:
            await update(self.finops, "CustCustomerGroupEntity", {recid: {"description": description}})

    async def row(self, number: str) -> Any:
        return await self.dataverse.pool.origin.fetchrow(
            "select * from dataverse.msdyn_customergroup where msdyn_groupid = $1", number
        )

    async def record(self, number: str) -> Any:
        return await self.finops.pool.origin.fetchrow(
            "select * from finops.custcustomergroupentity where customergroupid = $1", number
        )

    async def pause(self, *table_maps: str) -> None:
        await self.dual_write.states.change(table_maps or (GROUPS,), "paused", by="tester", reason="manual")

    async def resume(self, *table_maps: str, **parameters: Any) -> Request:
        """Resume and wait until that has ended."""
        id_ = await self.dual_write.requests.submit("resume", table_maps or (GROUPS,), parameters, "tester")
        return await self.ended(id_)

    async def run(self, table_map: str, **parameters: Any) -> Request:
        """Run a stopped table map with an initial sync and wait until that has ended."""
        return await self.ended(await self.dual_write.requests.submit("run", [table_map], parameters, "tester"))

    async def ended(self, id_: UUID) -> Request:
        async def has_ended() -> bool:
            return not (await self.dual_write.requests.get(id_)).is_open

        await until(has_ended)
        return await self.dual_write.requests.get(id_)

    async def states(self, *table_maps: str) -> list[str]:
        names = table_maps or (GROUPS,)
        found = [await self.dual_write.states.read(names, half) for half in ("finops", "dataverse")]
        assert {name: found[0][name].state for name in names} == {name: found[1][name].state for name in names}
        return [found[0][name].state for name in names]

    async def queued(self, half: Half, *, status: str = "waiting", table_map: str = GROUPS) -> list[Any]:
        return await self.dual_write.queue.list(half, table_map, statuses=[status])  # type: ignore[list-item]

    async def until_delivered(self, half: Half) -> None:
        async def is_delivered() -> bool:
            return not await self.queued(half) and not await self.queued(half, status="failed")

        await until(is_delivered)

    async def entries(self, kind: str) -> list[Any]:
        """Entries of the activity log since the test began, newest first."""
        return await self.environment.activity.entries(ActivityFilter(kinds=(kind,), first=self.first_entry))

    async def open(self, kind: str) -> int:
        """How many of these errors since the test began nobody has settled; told alike by groups and by entries."""
        which = ActivityFilter(kinds=(kind,), first=self.first_entry)
        activity = self.environment.activity
        count = sum(group.open for group in await activity.groups(which))
        assert count == len(await activity.entries(msgspec.structs.replace(which, open_only=True)))
        return count

    async def start_over(self) -> None:
        """As a test finds it: everything runs, nothing waits, nothing was sent."""
        for app in (self.finops, self.dataverse):
            await app.pool.origin.execute("delete from isthmus.queued_change")
        for request in await self.dual_write.requests.newest(states=["waiting", "running"]):
            await self.ended(request.id)
        names = [
            state.table_map for state in (await self.dual_write.states.read()).values() if state.state != "running"
        ]
        await self.dual_write.states.change(names, "running", by="tester")
        self.sent.clear()
        self.unwelcome.clear()
        newest = await self.environment.activity.entries(limit=1)
        self.first_entry = newest[0].id + 1 if newest else 1


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
