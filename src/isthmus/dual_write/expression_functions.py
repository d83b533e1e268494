"""The functions that expressions of field mappings may call: each takes typed values and gives typed SQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from isthmus.dual_write.expression_syntax import Node
from isthmus.dual_write.expression_types import Typed, ValueType, empty_if_missing, join, type_error
from isthmus.query.quoting import quote_literal

if TYPE_CHECKING:
    from isthmus.dual_write.expression import Compiler

MANY = 50
"""Values that a function without a limit of its own takes."""

_MAX_CHARACTERS = 1_048_576
_MAX_DAYS = 1_000_000
"""Days that can be added: a date between the years 1 and 9999 stays within what the database can hold."""

_TIMES = (ValueType.DATE, ValueType.DATE_TIME)


class Function(msgspec.Struct, frozen=True):
    """A function that takes from `least` to `most` values; `make` checks them and gives the SQL."""

    least: int
    most: int
    make: Callable[[Compiler, Node], Typed]


def _of_text(sql: str) -> Function:
    def make(compiler: Compiler, node: Node) -> Typed:
        part = compiler.expect(node.parts[0], ValueType.TEXT)
        return Typed(sql=sql.format(part.sql), type=ValueType.TEXT, growth=part.growth)

    return Function(1, 1, make)


def _cut(name: str) -> Function:
    def make(compiler: Compiler, node: Node) -> Typed:
        part = compiler.expect(node.parts[0], ValueType.TEXT)
        count = _whole_literal(compiler, node.parts[1], _MAX_CHARACTERS)
        return Typed(sql=f"{name}({part.sql}, {count})", type=ValueType.TEXT, growth=part.growth)

    return Function(2, 2, make)


def _whole_literal(compiler: Compiler, node: Node, most: int) -> int:
    found = compiler.expect(node, ValueType.NUMBER, whole=True)
    if found.literal is None or int(found.literal) > most:
        raise type_error(f"A whole number from 0 to {most:,} is needed, written out", node.position)
    return int(found.literal)


def _length(compiler: Compiler, node: Node) -> Typed:
    part = compiler.expect(node.parts[0], ValueType.TEXT)
    return Typed(sql=f"length({empty_if_missing(part)})::numeric", type=ValueType.NUMBER, whole=True)


def _replace(compiler: Compiler, node: Node) -> Typed:
    part, old, new = (compiler.expect(each, ValueType.TEXT) for each in node.parts)
    if not old.literal or new.literal is None:
        raise type_error("What is replaced, and by what, are texts in quotes, the first not empty", node.position)
    growth = part.growth * max(1, -(-len(new.literal) // len(old.literal)))
    return Typed(sql=f"replace({part.sql}, {old.sql}, {new.sql})", type=ValueType.TEXT, growth=growth)


def _joined(compiler: Compiler, node: Node) -> Typed:
    return join([compiler.expect(part, ValueType.TEXT) for part in node.parts])


def _text(compiler: Compiler, node: Node) -> Typed:
    part = compiler.value(node.parts[0])
    match part.type:
        case ValueType.NUMBER:
            sql = f"trim_scale({part.sql})::text"
        case ValueType.DATE:
            sql = f"to_char({part.sql}, 'YYYY-MM-DD')"
        case ValueType.DATE_TIME:
            sql = f"""to_char({part.sql} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
        case ValueType.ENUM:
            sql = compiler.symbol(part)
        case _:
            sql = f"({part.sql})::text"
    return Typed(sql=sql, type=ValueType.TEXT, growth=part.growth)


def _round(compiler: Compiler, node: Node) -> Typed:
    part = compiler.expect(node.parts[0], ValueType.NUMBER)
    digits = _whole_literal(compiler, node.parts[1], 10) if len(node.parts) == 2 else 0
    return Typed(sql=f"round({part.sql}, {digits})", type=ValueType.NUMBER, whole=digits == 0)


def _abs(compiler: Compiler, node: Node) -> Typed:
    part = compiler.expect(node.parts[0], ValueType.NUMBER)
    return Typed(sql=f"abs({part.sql})", type=ValueType.NUMBER, whole=part.whole)


def _coalesce(compiler: Compiler, node: Node) -> Typed:
    parts = compiler.unified(node.parts)
    is_text = parts[0].type is ValueType.TEXT
    sqls = [f"nullif({part.sql}, '')" if is_text else part.sql for part in parts]
    return Typed(
        sql=f"coalesce({', '.join(sqls)})",
        type=parts[0].type,
        whole=all(part.whole for part in parts),
        enum=parts[0].enum,
        growth=max(part.growth for part in parts),
        is_shifted=any(part.is_shifted for part in parts),
    )


def _time(compiler: Compiler, node: Node) -> Typed:
    found = compiler.value(node)
    if found.type not in _TIMES:
        raise type_error(f"Date is needed and this is {found.shown}", node.position)
    return found


def _in_utc(part: Typed) -> str:
    return f"({part.sql} at time zone 'UTC')" if part.type is ValueType.DATE_TIME else part.sql


def _part_of_date(name: str) -> Function:
    def make(compiler: Compiler, node: Node) -> Typed:
        part = _time(compiler, node.parts[0])
        return Typed(sql=f"extract({name} from {_in_utc(part)})", type=ValueType.NUMBER, whole=True)

    return Function(1, 1, make)


def _add_days(compiler: Compiler, node: Node) -> Typed:
    part = _time(compiler, node.parts[0])
    days = compiler.expect(node.parts[1], ValueType.NUMBER, whole=True)
    if part.is_shifted:
        raise type_error("Add the numbers of days before they are added to the date", node.parts[0].position)
    beyond = _MAX_DAYS + 1
    bounded = f"greatest(least(coalesce({days.sql}, {beyond}), {beyond}), -{beyond})"
    count = f"nullif(nullif({bounded}, {beyond}), -{beyond})::integer"
    added = count if part.type is ValueType.DATE else f"make_interval(days => {count})"
    return Typed(sql=f"({part.sql} + {added})", type=part.type, is_shifted=True)


def _date(compiler: Compiler, node: Node) -> Typed:
    part = compiler.value(node.parts[0])
    if part.type is ValueType.DATE_TIME:
        return Typed(sql=f"{_in_utc(part)}::date", type=ValueType.DATE, is_shifted=part.is_shifted)
    if part.type is not ValueType.TEXT or part.literal is None:
        raise type_error("A date and time, or a date as 'YYYY-MM-DD', is needed", node.parts[0].position)
    try:
        day = date.fromisoformat(part.literal)
    except ValueError:
        raise type_error(f"'{part.literal}' is no date; write 'YYYY-MM-DD'", node.parts[0].position) from None
    return Typed(sql=f"date {quote_literal(day.isoformat())}", type=ValueType.DATE)


def _empty(compiler: Compiler, node: Node) -> Typed:
    part = compiler.value(node.parts[0])
    sql = f"({empty_if_missing(part)} = '')" if part.type is ValueType.TEXT else f"({part.sql} is null)"
    return Typed(sql=sql, type=ValueType.TRUTH)


FUNCTIONS: dict[str, Function] = {
    "upper": _of_text("upper({0})"),
    "lower": _of_text("lower({0})"),
    "trim": _of_text("btrim({0})"),
    "left": _cut("left"),
    "right": _cut("right"),
    "length": Function(1, 1, _length),
    "replace": Function(3, 3, _replace),
    "concat": Function(1, MANY, _joined),
    "text": Function(1, 1, _text),
    "round": Function(1, 2, _round),
    "abs": Function(1, 1, _abs),
    "coalesce": Function(2, MANY, _coalesce),
    "year": _part_of_date("year"),
    "month": _part_of_date("month"),
    "day": _part_of_date("day"),
    "adddays": Function(2, 2, _add_days),
    "date": Function(1, 1, _date),
    "empty": Function(1, 1, _empty),
}
"""By name, in lower case; docs/reference/transforms.md describes each."""
