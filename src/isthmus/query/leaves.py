"""Conditions without parts: what they compare, and when an absent row fulfils them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from isthmus.query.model import Comparison, Custom, Expression, Function, In, Match, Path, Truth, Value

Leaf = Comparison | In | Match | Truth | Custom


def expressions_of(condition: Leaf) -> tuple[Expression, ...]:
    """What is compared; values in a list left out."""
    match condition:
        case Comparison() | Match():
            return (condition.left, condition.right)
        case In():
            return (condition.left,)
        case Truth():
            return (condition.expression,)
        case Custom():
            return (condition.left,)


def paths_of(expression: Expression) -> Iterator[Path]:
    """The columns an expression is computed from."""
    if isinstance(expression, Path):
        yield expression
    elif isinstance(expression, Function):
        for argument in expression.arguments:
            yield from paths_of(argument)


def opposite_where_null_fits(condition: Leaf) -> Comparison | None:
    """The opposite of a comparison that is true of null, and so of a related row that is not there."""
    if not isinstance(condition, Comparison):
        return None
    given = condition.right.value if isinstance(condition.right, Value) else ...
    if condition.operator == "eq" and given in (None, ""):
        return msgspec.structs.replace(condition, operator="ne")
    if condition.operator == "ne" and given not in (None, ""):
        return msgspec.structs.replace(condition, operator="eq")
    return None
