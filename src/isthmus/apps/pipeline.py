"""The pipeline of stages that each message runs through, and the steps registered on it.

Stages and their order are Dataverse's (event framework: pre-validation 10, pre-operation 20, main operation 30,
post-operation 40); *before commit* is ours: it runs once per transaction, after the last message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from isthmus.apps.change import Operation
from isthmus.apps.message import Message

if TYPE_CHECKING:
    from isthmus.apps.context import Context


class Stage(IntEnum):
    """The stages that steps are registered at; the main operation between them is the app's own."""

    PRE_VALIDATION = 10
    PRE_OPERATION = 20
    POST_OPERATION = 40


LOCK_RANK = 150
"""Rank at which live sync locks records in pre-operation. A step that only corrects values runs before it (the default
rank does); a step that writes rows itself must run after it: no row lock may be taken before the record locks."""

AFTER_LOCKS = 200
"""Rank for pre-operation steps that write."""

MessageHandler = Callable[["Context", Message], Awaitable[None]]
CommitHandler = Callable[["Context"], Awaitable[None]]


class SetBased(msgspec.Struct, frozen=True, kw_only=True):
    """What a step does to new rows, said in SQL over any number of them, `s`; a load need not call it then. To rows
    that are updated such a step does nothing.

    `joins` go behind `s` in a FROM clause and find one row at most for each, by its columns `reads`. `fills` are
    columns and what they become in a row that has no value there. Rows for which `needs_handler` holds are sent through
    the pipeline after all.
    """

    reads: frozenset[str]
    joins: str
    fills: Mapping[str, str]
    needs_handler: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A handler at a stage.

    `table` and `operation` of None mean any. `columns` restricts a step on creates or updates to messages that give one
    of them (Dataverse's filtering attributes). `images` are columns the step reads from `before` and `after`. Lower
    `rank` runs first; steps of one rank run in the order they were registered. A step `for_callers` does not see what
    live sync sends. `set_based` says the same as the handler in SQL.
    """

    stage: Stage
    handler: MessageHandler
    operation: Operation | None = None
    table: str | None = None
    columns: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    rank: int = 100
    for_callers: bool = False
    set_based: SetBased | None = None

    def concerns(self, message: Message) -> bool:
        """Whether the step runs for this message."""
        if self.for_callers and message.through is not None:
            return False
        if self.columns and message.operation is not Operation.DELETE:
            return any(not self.columns.isdisjoint(row.values) for row in message.rows)
        return True


class Pipeline:
    """The steps of one app. Filled while the environment is built, read for every message."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._before_commit: list[CommitHandler] = []
        self._found: dict[tuple[Stage, Operation, str], tuple[Step, ...]] = {}

    def register(self, step: Step) -> None:
        """Add a step to those that run from now on."""
        self._steps.append(step)
        self._found.clear()

    def before_commit(self, handler: CommitHandler) -> None:
        """Add a handler that runs once per transaction, after its last message and before it commits."""
        self._before_commit.append(handler)

    def steps(self, stage: Stage, operation: Operation, table: str) -> tuple[Step, ...]:
        """The steps of a stage for an operation on a table, in the order they run."""
        key = (stage, operation, table)
        found = self._found.get(key)
        if found is None:
            fitting = [
                step
                for step in self._steps
                if step.stage is stage and step.operation in (None, operation) and step.table in (None, table)
            ]
            found = self._found[key] = tuple(sorted(fitting, key=lambda step: step.rank))
        return found

    def images(self, operation: Operation, table: str) -> frozenset[str]:
        """Columns that some step on the table reads from the images of a row."""
        stages = (Stage.PRE_OPERATION, Stage.POST_OPERATION)
        return frozenset().union(*(step.images for stage in stages for step in self.steps(stage, operation, table)))

    async def run(self, stage: Stage, context: Context, message: Message) -> None:
        """Run the steps of one stage for a message."""
        for step in self.steps(stage, message.operation, message.table):
            if step.concerns(message):
                await step.handler(context, message)

    async def run_before_commit(self, context: Context) -> None:
        for handler in self._before_commit:
            await handler(context)
