"""Which kinds of values may stand on both sides of a comparison, and how an expression is named in a message."""

from __future__ import annotations

from isthmus.query.literals import mismatch
from isthmus.query.model import NUMBERS, Expression, Function, Kind, Operator, Path, Value

DAYS = frozenset({Kind.DATE, Kind.TIMESTAMP})
"""Kinds that have a day, and compare with one another."""

MIRRORED: dict[Operator, Operator] = {"eq": "eq", "ne": "ne", "gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
"""The operator that says the same of both sides exchanged."""


def check_comparable(left: Expression, right: Expression, operator: str) -> None:
    """Kinds that may stand on both sides of an operator; guids, choices and enums have an order on the wire, too."""
    if (isinstance(left, Value) and left.value is None) or (isinstance(right, Value) and right.value is None):
        return
    kinds = {left.kind, right.kind}
    if kinds & {Kind.CHOICES, Kind.BINARY}:
        raise mismatch(f"{described(left)} cannot be compared; only eq null and ne null go with it.")
    if len(kinds) == 1 or kinds <= NUMBERS or kinds <= DAYS:
        return
    if kinds <= {Kind.ENUM, Kind.CHOICE, Kind.BIG_INT, Kind.INTEGER}:
        return
    raise mismatch(f"{described(left)} and {described(right)} cannot be compared with {operator}.")


def described(expression: Expression) -> str:
    """What a message calls an expression: the column, the function or the value, and its kind."""
    if isinstance(expression, Path):
        return f"the column {expression.column.name} ({expression.kind})"
    if isinstance(expression, Function):
        return f"the result of {expression.name} ({expression.kind})"
    return f"a value of type {expression.kind}"
