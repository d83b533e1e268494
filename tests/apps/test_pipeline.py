"""Which messages a step runs for."""

from __future__ import annotations

import pytest

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.apps.pipeline import Stage, Step


async def nothing(context: Context, message: Message) -> None:
    """A handler."""


def message(operation: Operation, through: str | None = None, **values: object) -> Message:
    return Message(operation=operation, table="account", rows=[Row(values=dict(values))], through=through)


@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.UPDATE])
def test_columns_restrict_creates_and_updates(operation: Operation) -> None:
    step = Step(stage=Stage.POST_OPERATION, handler=nothing, columns=frozenset({"fax", "telephone1"}))
    assert step.concerns(message(operation, fax="1", name="Contoso"))
    assert not step.concerns(message(operation, name="Contoso"))


def test_columns_do_not_restrict_deletes() -> None:
    step = Step(stage=Stage.POST_OPERATION, handler=nothing, columns=frozenset({"fax"}))
    assert step.concerns(message(Operation.DELETE))


def test_a_step_for_callers_does_not_see_what_the_partner_sends() -> None:
    step = Step(stage=Stage.PRE_OPERATION, handler=nothing, for_callers=True)
    assert step.concerns(message(Operation.CREATE, name="Contoso"))
    assert not step.concerns(message(Operation.CREATE, "accounts - Customers V3", name="Contoso"))
