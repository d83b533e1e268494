"""Query functions of Dataverse in `$filter`: name, property and values bound to a condition."""

from __future__ import annotations

from typing import Any, cast
from typing import Literal as OneOf

from isthmus.errors import Rejected
from isthmus.query.comparable import DAYS, check_comparable
from isthmus.query.dataverse_functions import (
    CALLER_COMPARISONS,
    NAMESPACE,
    RELATIVE_TIMES,
    UNSUPPORTED,
    number_up_to,
)
from isthmus.query.literals import Literal, mismatch, value_of
from isthmus.query.model import And, CallerValue, Comparison, Condition, Custom, In, Kind, Match, Not, Path, Value
from isthmus.query.odata_syntax import Syntax


def query_function(name: str, path: Path, items: list[Syntax]) -> Condition:
    """The condition of `Microsoft.Dynamics.CRM.<name>` about the property of `path`, with the values given besides it.

    Rejected with code `unknown_function`, `not_supported` or `type_mismatch`.
    """
    if name in UNSUPPORTED:
        raise Rejected(f"The query function {name} is not supported: it needs a hierarchy.", code="not_supported")
    if name in CALLER_COMPARISONS:
        return _caller_comparison(name, path)
    if name in RELATIVE_TIMES:
        return _time_condition(name, path, items)
    match name:
        case "In":
            return In(path, _values(path, items))
        case "NotIn":
            return Not(In(path, _values(path, items)))
        case "Between" | "NotBetween":
            return _between(name, path, items)
        case "Contains":
            return _contains(path, items)
        case "ContainValues" | "DoesNotContainValues":
            return _contain_values(name, path, items)
        case "InFiscalPeriod":
            if path.kind not in DAYS:
                raise mismatch(f"{name} goes with dates; {path.column.name} is none.")
            return Custom(name, path, _numbers(name, items, (4,)))
        case "EqualUserTeams" | "EqualUserOrUserTeams":
            if path.kind is not Kind.UUID:
                raise mismatch(f"{name} goes with lookups of owners; {path.column.name} is none.")
            return Custom(name, path)
    raise Rejected(f"There is no query function {NAMESPACE}{name}.", code="unknown_function", function=name)


def _caller_comparison(name: str, path: Path) -> Condition:
    operator, field, kind = CALLER_COMPARISONS[name]
    caller = CallerValue(cast("Any", field), kind)
    check_comparable(path, caller, operator)
    return Comparison(cast("OneOf['eq', 'ne']", operator), path, caller)


def _time_condition(name: str, path: Path, items: list[Syntax]) -> Condition:
    if path.kind not in DAYS:
        raise mismatch(f"{name} goes with dates; {path.column.name} is none.")
    function = RELATIVE_TIMES[name]
    if not function.dates:
        return Custom(name, path, _numbers(name, items, function.largest))
    if len(items) != 1 or not isinstance(items[0], Literal):
        raise mismatch(f"{name} takes one date.")
    return Custom(name, path, (value_of(items[0], Kind.DATE),))


def _between(name: str, path: Path, items: list[Syntax]) -> Condition:
    values = _values(path, items)
    if len(values) != 2:
        raise mismatch(f"{name} takes two values, not {len(values)}.")
    between = And((Comparison("ge", path, values[0]), Comparison("le", path, values[1])))
    return between if name == "Between" else Not(between)


def _contains(path: Path, items: list[Syntax]) -> Condition:
    if path.kind is not Kind.TEXT or len(items) != 1:
        raise mismatch(f"Contains takes one text and goes with text; see the column {path.column.name}.")
    return Match("contains", path, _values(path, items)[0])


def _contain_values(name: str, path: Path, items: list[Syntax]) -> Condition:
    if path.kind is not Kind.CHOICES:
        raise mismatch(f"{name} goes with choices columns; {path.column.name} is none.")
    contained = Custom("ContainValues", path, _values(path, items))
    return contained if name == "ContainValues" else Not(contained)


def _values(path: Path, items: list[Syntax]) -> tuple[Value, ...]:
    """The values given; texts stand for values of any kind here."""
    literals = [item for item in items if isinstance(item, Literal)]
    if len(literals) != len(items) or not items:
        raise mismatch("The values of a query function are literals, and at least one is needed.")
    return tuple(value_of(literal, path.kind, path.column, quoted=True) for literal in literals)


def _numbers(name: str, items: list[Syntax], largest: tuple[int, ...]) -> tuple[Value, ...]:
    if len(items) != len(largest):
        raise mismatch(f"{name} takes {len(largest)} numbers besides the property, not {len(items)}.")
    values = []
    for item, bound in zip(items, largest, strict=True):
        if not isinstance(item, Literal):
            raise mismatch(f"{name} takes numbers.")
        convert = number_up_to(bound)
        values.append(Value(convert(item.text), Kind.BIG_INT, item.slot, convert))
    return tuple(values)
