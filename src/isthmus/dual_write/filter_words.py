"""Conditions of filters in words: as they are written on each half, and what is to be known about missing values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from isthmus.apps.principal import Half
from isthmus.query.leaves import Leaf, expressions_of
from isthmus.query.model import (
    And,
    Comparison,
    Condition,
    Expression,
    Function,
    In,
    Kind,
    Match,
    Not,
    Or,
    Path,
    Truth,
    Value,
)

_RANGE_OPERATORS = {"eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_NOTHING = frozenset({None, ""})


def condition_text(condition: Condition, half: Half) -> str:
    """A condition as it is written in a filter of the half."""
    match condition:
        case And(parts):
            return (" && " if half == "finops" else " and ").join(f"({condition_text(part, half)})" for part in parts)
        case Or(parts):
            return (" || " if half == "finops" else " or ").join(f"({condition_text(part, half)})" for part in parts)
        case Not(inner):
            return f"!({condition_text(inner, half)})" if half == "finops" else f"not ({condition_text(inner, half)})"
        case Comparison(operator, left, right):
            word = _RANGE_OPERATORS[operator] if half == "finops" else operator
            kind = left.kind if not isinstance(left, Value) else right.kind
            return f"{_expression(left, half, kind)} {word} {_expression(right, half, kind)}"
        case Match(how, left, right):
            if half == "finops":
                return f"{_expression(left, half)} like {_expression(right, half)}"
            return f"{how}({_expression(left, half)},{_expression(right, half)})"
        case In(left, values):
            return f"{_expression(left, half)} in ({', '.join(_expression(value, half) for value in values)})"
        case Truth(expression):
            return _expression(expression, half)
    return type(condition).__name__.lower()


def note_on(condition: Condition, half: Half, values: Mapping[str, str | None]) -> str | None:
    """What explains the outcome of a condition without parts where a value, or what it is compared with, is none."""
    empty = [name for name, value in values.items() if value in _NOTHING]
    if _asks_for_nothing(condition):
        if half == "finops":
            return "F&O has no null: where Dataverse has null, F&O holds '', and both are meant by \"\"."
        return (
            "Dataverse stores the empty text as null: eq '' and eq null hold for both, ne '' and ne null for neither."
        )
    if not empty:
        return None
    names = ", ".join(empty)
    if half == "finops":
        return f"{names} is empty: F&O holds '' for it, which Dataverse shows as null. '' is below every other text."
    if isinstance(condition, Comparison) and condition.operator == "ne":
        return f"{names} has no value (null): ne holds, for null is different from every value."
    return f"{names} has no value (null): null is neither equal to, nor smaller or greater than, any value."


def _asks_for_nothing(condition: Condition) -> bool:
    if not isinstance(condition, Leaf):
        return False
    return any(isinstance(part, Value) and part.value in _NOTHING for part in expressions_of(condition))


def _expression(expression: Expression, half: Half, kind: Kind | None = None) -> str:
    match expression:
        case Path(_, column):
            return column.name
        case Value(value):
            return _literal(value, half, kind or expression.kind)
        case Function(name, arguments):
            return f"{name}({','.join(_expression(each, half) for each in arguments)})"
    return type(expression).__name__


def _literal(value: Any, half: Half, kind: Kind) -> str:
    if value is None:
        return '""' if half == "finops" else "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return f"{value.day:02}\\{value.month:02}\\{value.year:04}" if half == "finops" else value.isoformat()
    if isinstance(value, str) and kind is Kind.TEXT:
        return f'"{value}"' if half == "finops" else "'" + value.replace("'", "''") + "'"
    return str(value)
