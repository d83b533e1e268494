"""The context of a request in one app: caller, transaction, what has changed so far, and how it will be committed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from isthmus.apps.change import Change
from isthmus.apps.principal import Half, Principal
from isthmus.observe import Stages
from isthmus.store.crash_points import crash_point
from isthmus.store.transaction import Transaction

if TYPE_CHECKING:
    from isthmus.apps.port import App

Finish = Callable[["Context"], Awaitable[None]]

MAX_DEPTH = 16
"""Messages inside messages (cascades, plug-ins that write) before a loop is assumed; Dataverse's own limit."""


async def _commit_alone(context: Context) -> None:
    await context.transaction.commit()


class Context:
    """One transaction of one app, begun by `async with`, committed by `commit`, rolled back when left without it.

    `changes` grows with every message. `finish` is how the transaction ends: alone, or together with the partner half
    once live sync has written there. `shared` lets floors above keep what belongs to this transaction, by their type.
    `deferred` is set when the save stands but the partner's part of it is left to recovery.
    """

    def __init__(
        self,
        app: App,
        principal: Principal,
        transaction: Transaction,
        *,
        correlation_id: str,
        stages: Stages | None = None,
        is_partner: bool = False,
    ) -> None:
        self.app = app
        self.principal = principal
        self.transaction = transaction
        self.correlation_id = correlation_id
        self.stages = stages or Stages()
        self.is_partner = is_partner
        self.changes: list[Change] = []
        self.depth = 0
        self.finish: Finish = _commit_alone
        self.shared: dict[type, Any] = {}
        self.deferred = False
        self._settled = False
        self._closers: list[Callable[[], Awaitable[None]]] = []

    @property
    def half(self) -> Half:
        return self.app.half

    async def __aenter__(self) -> Self:
        await self.transaction.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for closer in self._closers:
                await closer()
        finally:
            await self.transaction.close()

    def on_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Have `closer` called when the context is left, before its own transaction is closed."""
        self._closers.append(closer)

    async def settle(self) -> None:
        """Run what waits for the end of the transaction: afterwards both halves show what will be committed.

        An answer that shows the row is made after this and before `commit`; a second call does nothing.
        """
        if not self._settled:
            self._settled = True
            with self.stages.stage("sync"):
                await self.app.pipeline.run_before_commit(self)

    async def commit(self) -> None:
        """Settle, then commit: here alone, or on both halves."""
        await self.settle()
        with self.stages.stage("commit"):
            await self.finish(self)
        crash_point("before_answer")
