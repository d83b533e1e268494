"""The Dataverse half as an app: its catalog, its database, its pipeline, and the messages that write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Self

import asyncpg

from isthmus.apps.change import Change, Operation
from isthmus.apps.context import MAX_DEPTH, Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import AFTER_LOCKS, Pipeline, Stage, Step
from isthmus.apps.principal import Half, Principal
from isthmus.dataverse.behaviour.business_units import give_default_teams
from isthmus.dataverse.behaviour.companies import COMPANY, give_owning_teams
from isthmus.dataverse.behaviour.values import check_values
from isthmus.dataverse.messages.create import create
from isthmus.dataverse.messages.delete import delete
from isthmus.dataverse.messages.update import update
from isthmus.dataverse.refusals import refused
from isthmus.dataverse.relations import relations
from isthmus.dataverse.rows import WRITTEN
from isthmus.dataverse.system_users import SystemUsers
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table import Table
from isthmus.observe import Stages
from isthmus.query.record_json import record_sql
from isthmus.store.pool import Pool
from isthmus.store.transaction import Transaction

Handler = Callable[["DataverseApp", Context, Table, Message], Awaitable[list[Change]]]

HANDLERS: dict[Operation, Handler] = {
    Operation.CREATE: create,
    Operation.UPDATE: update,
    Operation.DELETE: delete,
}

WATCHED = frozenset({"systemuser", "team", "businessunit", COMPANY})
"""Tables that `SystemUsers` keeps rows of."""


class DataverseApp:
    """One half of an environment; implements `isthmus.apps.port.App`."""

    half: Half = "dataverse"

    def __init__(self, pool: Pool, catalog: Catalog) -> None:
        self.pool = pool
        self.catalog = catalog
        self.relations = relations(catalog)
        self._shown: dict[str, str] = {}
        self.pipeline = Pipeline()
        self.users = SystemUsers()
        self.pipeline.register(
            Step(
                stage=Stage.PRE_OPERATION,
                handler=give_owning_teams,
                operation=Operation.CREATE,
                table=COMPANY,
                rank=AFTER_LOCKS,
            )
        )
        self.pipeline.register(
            Step(
                stage=Stage.POST_OPERATION, handler=give_default_teams, operation=Operation.CREATE, table="businessunit"
            )
        )

    @classmethod
    async def open(cls, dsn: str, catalog: Catalog, *, size: int = 20) -> Self:
        """The half on a migrated and seeded database, which may be away at the moment; `size` connections in each pool
        at most."""
        return cls(await Pool.open(dsn, size=size, name="isthmus dataverse"), catalog)

    async def close(self) -> None:
        """Wait for requests that are under way, then close all connections."""
        await self.pool.close()

    def context(
        self,
        principal: Principal,
        *,
        correlation_id: str,
        stages: Stages | None = None,
        is_partner: bool = False,
    ) -> Context:
        """A context whose transaction begins when it is entered."""
        pool = self.pool.partner if is_partner else self.pool.origin
        return Context(
            self,
            principal,
            Transaction(pool),
            correlation_id=correlation_id,
            stages=stages,
            is_partner=is_partner,
        )

    async def execute(self, context: Context, message: Message) -> None:
        """Run a message through its stages and append what changed to `context.changes`.

        Raises Rejected, NotFound or Conflict naming table, column and value; the transaction must then be rolled back,
        unless the error is that a row was not found or has another version: those are raised before anything is
        written. A message without rows does nothing.
        """
        if not message.rows:
            return
        if context.depth >= MAX_DEPTH:
            raise Rejected(
                f"{MAX_DEPTH} messages were sent one inside the other; the last is {message.operation} of "
                f"'{message.table}': steps or cascades seem to call each other in circles.",
                code="too_deep",
                table=message.table,
            )
        table = self.catalog.table(message.table)
        context.depth += 1
        try:
            await self.pipeline.run(Stage.PRE_VALIDATION, context, message)
            check_values(table, message)
            await self.pipeline.run(Stage.PRE_OPERATION, context, message)
            changes = await HANDLERS[message.operation](self, context, table, message)
            await self.pipeline.run(Stage.POST_OPERATION, context, message)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise refused(self.catalog, error) from error
        finally:
            context.depth -= 1
        context.changes.extend(changes)
        if message.table in WATCHED:
            self.users.forget()
            context.on_close(self._forget_users)

    def shown_sql(self, table: Table) -> str:
        """SQL of the JSON of a row of the table, within the statement that inserts it."""
        sql = self._shown.get(table.logical_name)
        if sql is None:
            sql = self._shown[table.logical_name] = record_sql(self.relations[table.logical_name], WRITTEN)
        return sql

    async def _forget_users(self) -> None:
        """Until a transaction ends, other requests still read (and keep) what stood before it, and it reads itself
        what may yet be rolled back."""
        self.users.forget()
