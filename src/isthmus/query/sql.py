"""Conditions and expressions of the query model as PostgreSQL.

Identifiers come from relations, values are bound: no text of a caller becomes part of a statement. Text compares by
`lower()`, as both halves compare it without regard to case; the tables have indexes on `lower(column)`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from typing import Literal as OneOf

import msgspec

from isthmus.errors import Bug
from isthmus.query.comparable import DAYS
from isthmus.query.dataverse_functions import RELATIVE_TIMES, time_sql
from isthmus.query.functions import ARITHMETIC, FUNCTIONS, WHOLE, WHOLE_DIVISION
from isthmus.query.leaves import Leaf, expressions_of, opposite_where_null_fits, paths_of
from isthmus.query.model import (
    And,
    Caller,
    CallerValue,
    Comparison,
    Condition,
    Custom,
    Expression,
    Function,
    In,
    Kind,
    Lambda,
    Match,
    Navigation,
    Not,
    Or,
    Path,
    Relation,
    Relations,
    Truth,
    Value,
)
from isthmus.query.quoting import escape_like, quote_identifier, quote_literal, wildcards_to_like
from isthmus.query.sql_types import NO_VALUE, SQL_TYPE

_OPERATORS = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}

_PATTERNS: dict[str, Callable[[str], str]] = {
    "contains": lambda text: f"%{escape_like(text)}%",
    "startswith": lambda text: f"{escape_like(text)}%",
    "endswith": lambda text: f"%{escape_like(text)}",
    "like": wildcards_to_like,
}


class Binding(msgspec.Struct, frozen=True):
    """Where the value of one parameter of a statement comes from.

    `literal`: the literal number `slot` of the query text, through `convert`. `caller`: the field of the caller named
    `value`. `fixed`, `token`: the value number `slot` that the caller of the plan, or the paging token, gives.
    `constant`: `value` itself.
    """

    source: OneOf["literal", "caller", "fixed", "token", "constant"]
    value: Any = None
    slot: int = 0
    convert: Callable[[Any], Any] | None = None


def compile_condition(
    condition: Condition,
    alias: str,
    parameters: list[Any],
    *,
    relations: Relations | None = None,
    first: int = 1,
    inline: bool = False,
    caller: Caller | None = None,
) -> str:
    """`condition` as an SQL boolean (null counts as false) over the relation whose alias is `alias`.

    Values are appended to `parameters`; the first of the list is `$first`. With `inline` they become quoted constants
    instead, for conditions of definitions that are compiled once. `relations` is needed where paths or lambdas leave
    the relation, `caller` where query functions ask for who calls.
    """
    bindings: list[Binding] = []
    writer = SqlWriter(relations or {}, bindings, first=first + len(parameters), inline=inline)
    text = writer.condition(condition, alias)
    for binding in bindings:
        if binding.source == "caller":
            if caller is None:
                raise Bug("This condition asks who calls, and no caller was given.", code="caller_missing")
            parameters.append(getattr(caller, binding.value))
        else:
            parameters.append(binding.value)
    return text


class SqlWriter:
    """Writes SQL of one statement; each value becomes the next entry of `bindings`."""

    def __init__(self, relations: Relations, bindings: list[Binding], *, first: int = 1, inline: bool = False) -> None:
        self.relations = relations
        self.bindings = bindings
        self._first = first
        self._inline = inline
        self._aliases = 0
        self._scopes: list[str] = []
        self._joined: dict[tuple[str, tuple[Navigation, ...]], str] = {}

    def new_alias(self) -> str:
        """An alias that the statement has not used yet."""
        self._aliases += 1
        return f"q{self._aliases}"

    def source(self, relation: Relation, alias: str) -> str:
        """The relation as an item of FROM. Every read of a row passes here: a rule on rows belongs in this place."""
        return f"{relation.sql_name} {alias}"

    def condition(self, condition: Condition, alias: str) -> str:
        """A condition on the relation of that alias."""
        self._scopes.append(alias)
        text = self._condition(condition)
        self._scopes.pop()
        return text

    def expression(self, expression: Expression, alias: str) -> str:
        """A value of the relation of that alias."""
        self._scopes.append(alias)
        text = self._value(expression)
        self._scopes.pop()
        return text

    def bind(self, binding: Binding, sql_type: str) -> str:
        """A parameter of that type."""
        self.bindings.append(binding)
        return f"${self._first + len(self.bindings) - 1}::{sql_type}"

    def related(self, navigation: Navigation, alias: str, target_alias: str) -> tuple[str, str]:
        """FROM and WHERE of the rows that a navigation property of the row of `alias` leads to."""
        target = self.relations[navigation.target]
        conditions = [f"{alias}.{quote_identifier(name)} = {quote_literal(text)}" for name, text in navigation.where]
        conditions += [
            f"{target_alias}.{quote_identifier(name)} = {quote_literal(text)}" for name, text in navigation.where_target
        ]
        source = self.source(target, target_alias)
        if navigation.intersect is None:
            conditions += [
                _equal(target, theirs, target_alias, f"{alias}.{quote_identifier(ours)}")
                for theirs, ours in navigation.on
            ]
        else:
            between = self.new_alias()
            joined = [
                _equal(target, theirs, target_alias, f"{between}.{quote_identifier(column)}")
                for column, theirs in navigation.intersect.theirs
            ]
            source = f"{navigation.intersect.sql_name} {between} join {source} on {' and '.join(joined)}"
            conditions += [
                f"{between}.{quote_identifier(column)} = {alias}.{quote_identifier(ours)}"
                for column, ours in navigation.intersect.ours
            ]
        return source, " and ".join(conditions)

    # -- conditions ----------------------------------------------------------------------------------------------

    def _condition(self, condition: Condition) -> str:
        match condition:
            case And(conditions):
                return "(" + " and ".join(map(self._condition, conditions)) + ")" if conditions else "true"
            case Or(conditions):
                return "(" + " or ".join(map(self._condition, conditions)) + ")" if conditions else "false"
            case Not(inner):
                return f"({self._condition(inner)}) is not true"
            case Lambda():
                return self._lambda(condition)
            case Comparison() | In() | Match() | Truth() | Custom():
                return self._leaf(condition)
        raise Bug(f"No SQL is known for {type(condition).__name__}.")

    def _leaf(self, condition: Leaf) -> str:
        """A condition without parts. When its paths all go the same way to one related row, it is asked of that row
        inside EXISTS: PostgreSQL turns this into a join, and can start from either end."""
        ways = {
            (path.outer, path.navigations)
            for expression in expressions_of(condition)
            for path in paths_of(expression)
            if path.navigations
        }
        if len(ways) != 1 or (isinstance(condition, Comparison) and isinstance(condition.right, Path | Function)):
            return self._plain(condition)
        outer, navigations = ways.pop()
        base = self._scopes[-1 - outer]
        opposite = opposite_where_null_fits(condition)
        source, where, alias = self._way(base, navigations)
        self._joined[(base, navigations)] = alias
        inner = self._plain(opposite or condition)
        del self._joined[(base, navigations)]
        text = f"exists (select from {source} where {where} and {inner})"
        return f"not {text}" if opposite else text

    def _way(self, base: str, navigations: tuple[Navigation, ...]) -> tuple[str, str, str]:
        """FROM and WHERE of the row at the end of a path, and its alias."""
        alias = self.new_alias()
        source, where = self.related(navigations[0], base, alias)
        for navigation in navigations[1:]:
            following = self.new_alias()
            joined, on = self.related(navigation, alias, following)
            source, alias = f"{source} join {joined} on {on}", following
        return source, where, alias

    def _plain(self, condition: Leaf) -> str:
        match condition:
            case Comparison():
                return self._comparison(condition)
            case In(left, values):
                listed = ", ".join(self._compared(value) for value in values)
                return f"{self._compared(left)} in ({listed})"
            case Match():
                return self._match(condition)
            case Truth(expression):
                return self._value(expression)
            case Custom():
                return self._custom(condition)

    def _comparison(self, condition: Comparison) -> str:
        operator, left, right = condition.operator, condition.left, condition.right
        if isinstance(left, Value) and left.value is None:
            left, right = right, left
        is_text = left.kind is Kind.TEXT
        if isinstance(right, Value) and (right.value is None or (is_text and right.value == "")):
            found = self._compared_with_nothing(operator, left, right)
            if found is not None:
                return found
        left_sql, right_sql = self._compared(left), self._compared(right)
        if {left.kind, right.kind} == DAYS:
            left_sql, right_sql = _as_moment(left_sql, left.kind), _as_moment(right_sql, right.kind)
        if operator == "eq" and is_text and isinstance(left, Path) and isinstance(right, Value):
            left_sql = f"lower({self._column(left)})"
        if operator == "ne" and not (_never_null(left) and _never_null(right)):
            return f"{left_sql} is distinct from {right_sql}"
        return f"{left_sql} {_OPERATORS[operator]} {right_sql}"

    def _compared_with_nothing(self, operator: str, left: Expression, right: Value) -> str | None:
        """Comparison with null or with the empty text, which Dataverse stores as null."""
        if operator not in ("eq", "ne"):
            return None if right.value == "" else "false"
        if isinstance(left, Path) and left.no_null:
            return f"{self._value(left)} {_OPERATORS[operator]} {NO_VALUE[left.kind]}"
        value = self._value(left)
        if right.value is None:
            return f"{value} is null" if operator == "eq" else f"{value} is not null"
        return f"({value} is null or {value} = '')" if operator == "eq" else f"{value} <> ''"

    def _match(self, condition: Match) -> str:
        left, right = f"lower({self._value(condition.left)})", condition.right
        if isinstance(right, Value):
            pattern = self._given(right, _PATTERNS[condition.how])
            return f"{left} like lower({pattern})"
        other = f"lower({self._value(right)})"
        match condition.how:
            case "contains":
                return f"strpos({left}, {other}) > 0"
            case "startswith":
                return f"starts_with({left}, {other})"
            case "endswith":
                return f"right({left}, char_length({other})) = {other}"
        raise Bug("A pattern must be a given text.")

    def _lambda(self, condition: Lambda) -> str:
        alias = base = self._scopes[-1 - condition.outer]
        source = where = ""
        if condition.through:
            source, where, alias = self._way(base, condition.through)
        member = self.new_alias()
        collection, on = self.related(condition.navigation, alias, member)
        source, where = (f"{source} join {collection} on {on}", where) if source else (collection, on)
        if condition.condition is None:
            return f"exists (select from {source} where {where})"
        inner = self.condition(condition.condition, member)
        if condition.how == "any":
            return f"exists (select from {source} where {where} and {inner})"
        return f"not exists (select from {source} where {where} and ({inner}) is not true)"

    def _custom(self, condition: Custom) -> str:
        left = self._value(condition.left)
        name = condition.name
        if name in RELATIVE_TIMES:
            arguments = [self._value(argument) for argument in condition.arguments]
            return time_sql(RELATIVE_TIMES[name], left, condition.left.kind, arguments)
        match name:
            case "ContainValues":
                values = ", ".join(self._value(argument) for argument in condition.arguments)
                return f"{left} && array[{values}]"
            case "InFiscalPeriod":
                (period,) = condition.arguments
                return f"extract(quarter from {_in_utc(left, condition.left.kind)}) = {self._value(period)}"
            case "EqualUserTeams":
                return f"{left} = any({self._teams()})"
            case "EqualUserOrUserTeams":
                user = self._value(CallerValue("user_id", Kind.UUID))
                return f"({left} = {user} or {left} = any({self._teams()}))"
        raise Bug(f"No SQL is known for the query function {name}.")

    def _teams(self) -> str:
        return self.bind(Binding("caller", "team_ids"), "uuid[]")

    # -- values --------------------------------------------------------------------------------------------------

    def _compared(self, expression: Expression) -> str:
        value = self._value(expression)
        return f"lower({value})" if expression.kind is Kind.TEXT else value

    def _value(self, expression: Expression) -> str:
        match expression:
            case Path():
                column = self._column(expression)
                may_be_null = expression.column.nullable or expression.navigations
                if expression.no_null and may_be_null:
                    return f"coalesce({column}, {NO_VALUE[expression.kind]})"
                return column
            case Value():
                return self._given(expression)
            case CallerValue(field, kind):
                return self.bind(Binding("caller", field), SQL_TYPE[kind])
            case Function():
                return self._function(expression)

    def _column(self, path: Path) -> str:
        base = self._scopes[-1 - path.outer]
        if not path.navigations:
            return f"{base}.{quote_identifier(path.column.physical)}"
        alias = self._joined.get((base, path.navigations))
        if alias is not None:
            return f"{alias}.{quote_identifier(path.column.physical)}"
        source, where, alias = self._way(base, path.navigations)
        column = f"{alias}.{quote_identifier(path.column.physical)}"
        return f"(select {column} from {source} where {where} limit 1)"  # noqa: S608  # names of relations only

    def _given(self, value: Value, pattern: Callable[[str], str] | None = None) -> str:
        sql_type = SQL_TYPE[value.kind]
        if value.value is None:
            return f"null::{sql_type}"
        given = value.value if pattern is None else pattern(value.value)
        if isinstance(given, bool) and value.slot is None:
            return "true" if given else "false"
        if self._inline:
            return f"{quote_literal(_constant_text(given))}::{sql_type}"
        if value.slot is None or value.convert is None:
            return self.bind(Binding("constant", given), sql_type)
        return self.bind(Binding("literal", given, value.slot, _chained(value.convert, pattern)), sql_type)

    def _function(self, function: Function) -> str:
        arguments = [self._value(argument) for argument in function.arguments]
        if function.name in ARITHMETIC:
            whole = all(argument.kind in WHOLE for argument in function.arguments)
            template = WHOLE_DIVISION if function.name == "div" and whole else ARITHMETIC[function.name]
            return template.format(*arguments)
        signature = FUNCTIONS[function.name]
        arguments = [_in_utc(text, argument.kind) for text, argument in zip(arguments, function.arguments, strict=True)]
        template = signature.sql if len(arguments) == len(signature.arguments) else signature.shorter or signature.sql
        return template.format(*arguments)


def _equal(relation: Relation, physical: str, alias: str, other: str) -> str:
    column = relation.physical.get(physical)
    own = f"{alias}.{quote_identifier(physical)}"
    if column is not None and column.kind is Kind.TEXT:
        return f"lower({own}) = lower({other})"
    return f"{own} = {other}"


def _as_moment(text: str, kind: Kind) -> str:
    """A date beside a moment is its midnight in UTC, whatever the session's time zone."""
    return f"({text}::timestamp at time zone 'UTC')" if kind is Kind.DATE else text


def _in_utc(text: str, kind: Kind) -> str:
    return f"({text} at time zone 'UTC')" if kind is Kind.TIMESTAMP else text


def _constant_text(value: Any) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def _chained(convert: Callable[[str], Any], pattern: Callable[[str], str] | None) -> Callable[[str], Any]:
    if pattern is None:
        return convert
    return lambda text: pattern(convert(text))


def _never_null(expression: Expression) -> bool:
    if isinstance(expression, Path):
        return expression.no_null or (not expression.column.nullable and not expression.navigations)
    return isinstance(expression, Value)
