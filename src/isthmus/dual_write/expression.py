"""Expressions of field mappings: their types, and the SQL they become.

The language is closed: literals, fields or columns of the record itself, arithmetic, comparisons, choices, and the
functions of `expression_functions`. Whatever it says ends, reads one record and writes nothing. Text constants become
SQL literals, names become columns of the catalog, so no text of an expression becomes a part of a statement.

No value: what F&O writes as '' or 1900-01-01 and Dataverse as null is the same here. Joining takes it for empty text,
arithmetic with it gives no value, and it equals nothing but itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.dual_write.expression_functions import FUNCTIONS
from isthmus.dual_write.expression_syntax import Node, parse, syntax_error
from isthmus.dual_write.expression_types import Typed, ValueType, empty_if_missing, join, type_error
from isthmus.errors import Rejected
from isthmus.metadata.choice import Enum
from isthmus.query.quoting import quote_literal

MAX_GROWTH = 1_000
"""Times that a text may become longer than what it is made of: expressions must not exhaust memory."""


def compile_expression(text: str, names: Mapping[str, Typed], enums: Mapping[str, Enum]) -> Typed:
    """The SQL and type of an expression over `names`.

    Rejected with the position of what is wrong: `expression_syntax`, `expression_name` (neither field nor function),
    `expression_type`, `expression_too_complex`.
    """
    found = Compiler(names, enums).value(parse(text))
    if found.growth > MAX_GROWTH:
        raise Rejected(
            f"The text may become more than {MAX_GROWTH:,} times as long as what it is made of; replace by less.",
            code="expression_too_complex",
        )
    return found


class Compiler:
    """Turns the nodes of one expression into typed SQL."""

    def __init__(self, names: Mapping[str, Typed], enums: Mapping[str, Enum]) -> None:
        self._names = names
        self._enums = {name.lower(): enum for name, enum in enums.items()}

    def value(self, node: Node) -> Typed:
        """The SQL of one node and all below it."""
        match node.kind:
            case "text":
                return Typed(sql=f"{quote_literal(node.word)}::text", type=ValueType.TEXT, literal=node.word)
            case "number":
                whole = "." not in node.word
                return Typed(sql=f"{node.word}::numeric", type=ValueType.NUMBER, whole=whole, literal=node.word)
            case "truth":
                return Typed(sql=node.word, type=ValueType.TRUTH, literal=node.word)
            case "field":
                return self._field(node)
            case "member":
                return self._member(node)
            case "if":
                return self._choice(node)
            case "and" | "or":
                joined = f" {node.kind} ".join(self.condition(part) for part in node.parts)
                return Typed(sql=f"({joined})", type=ValueType.TRUTH)
            case "not":
                return Typed(sql=f"(not {self.condition(node.parts[0])})", type=ValueType.TRUTH)
            case "compare":
                return self._comparison(node)
            case "join":
                return join([self.expect(part, ValueType.TEXT) for part in node.parts])
            case "calculate":
                return self._calculation(node)
            case "call":
                return self._call(node)

    def expect(self, node: Node, type_: ValueType, *, whole: bool = False) -> Typed:
        """The node's value, which must be of a type."""
        found = self.value(node)
        if found.type is not type_ or (whole and not found.whole):
            wanted = "whole number" if whole else str(type_)
            raise type_error(f"{wanted.capitalize()} is needed and this is {found.shown}", node.position)
        return found

    def condition(self, node: Node) -> str:
        """SQL that is true or false, never null."""
        found = self.expect(node, ValueType.TRUTH)
        return f"coalesce({found.sql}, false)" if node.kind in ("field", "call", "if") else found.sql

    def unified(self, nodes: tuple[Node, ...]) -> list[Typed]:
        """Values that must be of one type; enums of one enum."""
        found = [self.value(node) for node in nodes]
        for node, other in zip(nodes, found, strict=True):
            if (other.type, other.enum) != (found[0].type, found[0].enum):
                raise type_error(f"The other value is {found[0].shown} and this is {other.shown}", node.position)
        return found

    def symbol(self, part: Typed) -> str:
        """SQL of the symbol of an enum's member."""
        members = self._enums[(part.enum or "").lower()].members
        whens = " ".join(f"when {member.value} then {quote_literal(member.symbol)}" for member in members)
        return f"case {part.sql} {whens} end" if whens else f"({part.sql})::text"

    def _field(self, node: Node) -> Typed:
        try:
            return self._names[node.word.lower()]
        except KeyError:
            raise Rejected(
                f"'{node.word}' is no field or column of the source record that has a simple value, at position "
                f"{node.position}.",
                code="expression_name",
                position=node.position,
            ) from None

    def _member(self, node: Node) -> Typed:
        enum = self._enums.get(node.word.lower())
        value = enum.value_of(node.member) if enum is not None else None
        if enum is None or value is None:
            what = f"enum {node.word} has no member '{node.member}'" if enum else f"there is no enum '{node.word}'"
            raise Rejected(
                f"{what[0].upper()}{what[1:]}, at position {node.position}.",
                code="expression_name",
                position=node.position,
            )
        return Typed(sql=str(value), type=ValueType.ENUM, enum=enum.name, literal=node.member)

    def _choice(self, node: Node) -> Typed:
        condition, *_ = node.parts
        then, otherwise = self.unified(node.parts[1:])
        return Typed(
            sql=f"(case when {self.condition(condition)} then {then.sql} else {otherwise.sql} end)",
            type=then.type,
            whole=then.whole and otherwise.whole,
            enum=then.enum,
            growth=max(then.growth, otherwise.growth),
            is_shifted=then.is_shifted or otherwise.is_shifted,
        )

    def _comparison(self, node: Node) -> Typed:
        left, right = self.unified(node.parts)
        ours, theirs = left.sql, right.sql
        if left.type is ValueType.TEXT:
            ours, theirs = f"lower({empty_if_missing(left)})", f"lower({empty_if_missing(right)})"
        operator = {"==": "=", "!=": "<>"}.get(node.word, node.word)
        if operator in ("=", "<>"):
            word = "is distinct from" if operator == "<>" else "is not distinct from"
            return Typed(sql=f"({ours} {word} {theirs})", type=ValueType.TRUTH)
        if left.type in (ValueType.TRUTH, ValueType.ENUM, ValueType.GUID):
            raise type_error(f"{left.shown.capitalize()} has no order; compare with = or <>", node.position)
        return Typed(sql=f"coalesce({ours} {operator} {theirs}, false)", type=ValueType.TRUTH)

    def _calculation(self, node: Node) -> Typed:
        left, right = (self.expect(part, ValueType.NUMBER) for part in node.parts)
        if node.word == "/":
            return Typed(sql=f"({left.sql} / nullif({right.sql}, 0))", type=ValueType.NUMBER)
        whole = left.whole and right.whole
        return Typed(sql=f"({left.sql} {node.word} {right.sql})", type=ValueType.NUMBER, whole=whole)

    def _call(self, node: Node) -> Typed:
        function = FUNCTIONS.get(node.word)
        if function is None:
            known = ", ".join(sorted(FUNCTIONS))
            raise Rejected(
                f"There is no function '{node.word}', at position {node.position}; there are {known}.",
                code="expression_name",
                position=node.position,
            )
        if not function.least <= len(node.parts) <= function.most:
            count = str(function.least) if function.least == function.most else f"{function.least} to {function.most}"
            raise syntax_error(f"{node.word} takes {count} values, not {len(node.parts)}", node.position)
        return function.make(self, node)
