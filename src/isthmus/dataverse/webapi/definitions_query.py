"""Query options over definitions: they are JSON values in memory, so that the conditions are evaluated here.

Uses the grammar of `$filter`, `$select` and `$expand` of the query floor; names and texts compare without regard to
case.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from isthmus.errors import Rejected
from isthmus.query.literals import Literal, text_of
from isthmus.query.odata_syntax import (
    CallSyntax,
    Constant,
    EnumSyntax,
    ExpandSyntax,
    ListSyntax,
    OperationSyntax,
    OptionsSyntax,
    PathSyntax,
    Syntax,
)

Json = dict[str, Any]


class Shape(msgspec.Struct, frozen=True):
    """A kind of definition: what `$expand` may ask for, by name, and what is only shown then."""

    expansions: Mapping[str, tuple[Callable[[Json], Any], Shape]]
    hidden: frozenset[str] = frozenset()


PLAIN = Shape({})

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "contains": lambda text, part: part in text,
    "startswith": lambda text, part: text.startswith(part),
    "endswith": lambda text, part: text.endswith(part),
    "tolower": lambda text: text,
    "toupper": lambda text: text,
    "trim": lambda text: text.strip(),
}
"""Texts come case-folded, so that changing their case changes nothing."""


def shaped(items: Iterable[Json], shape: Shape, options: OptionsSyntax) -> list[Json]:
    """The items that fulfil `$filter`, in order, at most `$top`, with what `$select` and `$expand` ask for."""
    known = list(items)
    found = [item for item in known if options.filter is None or _value(options.filter, item, known) is True]
    for order in reversed(options.orderby):
        expression = order.expression
        found.sort(key=lambda item: _sortable(_value(expression, item, known)), reverse=order.descending)
    if options.top is not None:
        found = found[: int(options.top.text)]
    return [one(item, shape, options) for item in found]


def one(item: Json, shape: Shape, options: OptionsSyntax) -> Json:
    """One item with what `$select` and `$expand` ask for; type and id are always there."""
    if options.select is None or any(name.name == "*" for name in options.select):
        chosen = {name: value for name, value in item.items() if name not in shape.hidden}
    else:
        by_lower = {name.lower(): name for name in item}
        wanted = {by_lower.get(selected.name.lower(), selected.name) for selected in options.select}
        wanted |= {"@odata.type", "MetadataId"}
        chosen = {name: value for name, value in item.items() if name in wanted}
    for expansion in options.expand:
        name, getter, inner = _expansion(shape, expansion)
        value = getter(item)
        if isinstance(value, list):
            chosen[name] = shaped(value, inner, expansion.options)
        else:
            chosen[name] = None if value is None else one(value, inner, expansion.options)
    return chosen


def _expansion(shape: Shape, expansion: ExpandSyntax) -> tuple[str, Callable[[Json], Any], Shape]:
    for name, (getter, inner) in shape.expansions.items():
        if name.lower() == expansion.name.lower():
            return name, getter, inner
    raise Rejected(
        f"'{expansion.name}' can't be expanded here; what can be: {', '.join(shape.expansions) or 'nothing'}.",
        code="property_not_found",
        property=expansion.name,
    )


def _sortable(value: Any) -> tuple[bool, str, Any]:
    """Values of one property in one order: null first; labels and lists have none and stay as they stand."""
    comparable = isinstance(value, str | int | float)
    return (value is not None, type(value).__name__, value if comparable else 0)


def _value(syntax: Syntax, item: Json, known: list[Json]) -> Any:
    match syntax:
        case Literal():
            return _literal(syntax)
        case Constant(value):
            return value
        case EnumSyntax():
            return text_of(syntax.literal.text).casefold()
        case ListSyntax(items):
            return [_value(part, item, known) for part in items]
        case PathSyntax():
            return _property(syntax, item, known)
        case CallSyntax():
            return _call(syntax, item, known)
        case OperationSyntax():
            return _operation(syntax, item, known)
    raise Rejected("Definitions can't be filtered by this expression.", code="not_supported")


def _literal(literal: Literal) -> Any:
    if literal.kind in ("text", "json"):
        return text_of(literal.text).casefold()
    if literal.kind == "integer":
        return int(literal.text)
    if literal.kind == "decimal":
        return float(literal.text)
    return literal.text.casefold()


def _property(path: PathSyntax, item: Json, known: list[Json]) -> Any:
    value: Any = item
    for name in path.names:
        if not isinstance(value, dict):
            return None
        key = next((key for key in value if key.lower() == name.lower()), None)
        if key is None:
            if value is item and not any(name.lower() in map(str.lower, other) for other in known):
                raise Rejected(
                    f"Could not find a property named '{name}' on a definition.",
                    code="property_not_found",
                    property=name,
                )
            return None
        value = value[key]
    return value.casefold() if isinstance(value, str) else value


def _call(call: CallSyntax, item: Json, known: list[Json]) -> Any:
    function = _FUNCTIONS.get(call.name.lower())
    if function is None:
        raise Rejected(f"Definitions can't be filtered by the function {call.name}.", code="not_supported")
    arguments = [_value(argument, item, known) for _, argument in call.arguments]
    if any(not isinstance(argument, str) for argument in arguments):
        return None
    try:
        return function(*arguments)
    except TypeError:
        raise Rejected(f"The function {call.name} has other arguments.", code="query_syntax") from None


def _operation(operation: OperationSyntax, item: Json, known: list[Json]) -> Any:
    operands = operation.operands
    match operation.operator:
        case "and":
            return all(_value(part, item, known) is True for part in operands)
        case "or":
            return any(_value(part, item, known) is True for part in operands)
        case "not":
            return _value(operands[0], item, known) is not True
        case "eq":
            return _value(operands[0], item, known) == _value(operands[1], item, known)
        case "ne":
            return _value(operands[0], item, known) != _value(operands[1], item, known)
        case "in":
            return _value(operands[0], item, known) in _value(operands[1], item, known)
    compare = _COMPARISONS.get(operation.operator)
    left, right = (_value(part, item, known) for part in operands[:2])
    if compare is None:
        raise Rejected(f"Definitions can't be filtered by '{operation.operator}'.", code="not_supported")
    try:
        return compare(left, right)
    except TypeError:
        return False
