r"""X++ query range expressions: the F&O side's filters of table maps, and the ranges of data entities.

`(PartyType == "Organization")`, `(AccountType == AccountType::Customer)`, `(TransactionDate <= 23\06\2021)`,
`(!(name like "*A*"))`, `((employees > 1000) && (employees <= 2000))`. Names of fields have no case, nor have texts.
An enum's field may stand beside a symbol in quotes or a number. `=` is `==`, and `<>` is `!=`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from typing import Any
from typing import Literal as OneOf

import msgspec
from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

from isthmus.errors import Rejected
from isthmus.query.comparable import MIRRORED
from isthmus.query.literals import Literal, mismatch, value_of
from isthmus.query.model import (
    NUMBERS,
    And,
    Comparison,
    Condition,
    Kind,
    Match,
    Not,
    Operator,
    Or,
    Path,
    Relation,
    Value,
)

MAX_DEPTH = 64
MAX_TERMS = 2_000
MAX_CHARACTERS = 65_536

_OPERATORS: dict[str, Operator] = {
    "==": "eq",
    "=": "eq",
    "!=": "ne",
    "<>": "ne",
    ">": "gt",
    ">=": "ge",
    "<": "lt",
    "<=": "le",
}

_TOKEN = re.compile(
    r"""
  (?P<SPACE>\s+)
| (?P<TEXT>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
| (?P<DATE>\d{1,2}\\\d{1,2}\\\d{4})(?!\w)
| (?P<NUMBER>\d+(?:\.\d+)?)(?![\w.])
| (?P<NAME>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)
| (?P<MEMBER>::)
| (?P<COMPARE>==|!=|<>|>=|<=|=|>|<)
| (?P<AND>&&)
| (?P<OR>\|\|)
| (?P<NOT>!)
| (?P<MINUS>-)
| (?P<LPAR>\()
| (?P<RPAR>\))
""",
    re.VERBOSE | re.ASCII,
)


class _Field(msgspec.Struct, frozen=True):
    name: str
    position: int


class _Given(msgspec.Struct, frozen=True):
    """A value: its kind in the text, and the text (without quotes); of an enum's member also the enum."""

    kind: OneOf["text", "number", "date", "member"]
    text: str
    position: int
    enum: str | None = None


class _Operation(msgspec.Struct, frozen=True):
    operator: str
    operands: tuple[_Operation | _Field | _Given, ...]
    position: int


_Node = _Operation | _Field | _Given


def parse_range(text: str, relation: Relation) -> Condition:
    """The condition that a range asks of `relation`.

    Rejected with code `query_syntax`, `property_not_found`, `type_mismatch` or `query_too_complex`.
    """
    return _Binder(relation).condition(_read(text))


def parse_range_syntax(text: str) -> set[str]:
    """Names of the fields that a range uses, as written; Rejected when it cannot be read. Needs no relation."""
    found: set[str] = set()
    rest: list[_Node] = [_read(text)]
    while rest:
        node = rest.pop()
        if isinstance(node, _Field):
            found.add(node.name)
        elif isinstance(node, _Operation):
            rest.extend(node.operands)
    return found


def _error(message: str, text: str, position: int) -> Rejected:
    shown = text if len(text) <= 200 else text[:200] + "..."
    return Rejected(f"{message} at position {position + 1} of '{shown}'.", code="query_syntax")


def _tokens(text: str) -> Iterator[Token]:
    position = depth = terms = nots = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise _error(f"Unexpected character {text[position]!r}", text, position)
        kind, word = match.lastgroup, match.group()
        depth += (kind == "LPAR") - (kind == "RPAR")
        nots = nots + 1 if kind == "NOT" else nots if kind in ("LPAR", "SPACE") else 0
        terms += kind in ("NAME", "TEXT", "NUMBER", "DATE")
        if depth + nots > MAX_DEPTH or terms > MAX_TERMS:
            raise Rejected(
                f"A range is nested at most {MAX_DEPTH} deep and has at most {MAX_TERMS:,} terms.",
                code="query_too_complex",
            )
        if kind == "NAME" and word.lower() == "like":
            kind = "LIKE"
        if kind != "SPACE":
            yield Token(kind, word, start_pos=position)
        position = match.end()


class _Words(Lexer):
    """Gives the parser the words of `_tokens`, already counted."""

    def __init__(self, lexer_conf: Any) -> None:
        pass

    def lex(self, lexer_state: Any, parser_state: Any = None) -> Iterator[Token]:
        return iter(lexer_state)


class _Build(Transformer[Token, Any]):
    """Builds the tree while the parser reduces; each method gets the parts of the rule it is named after."""

    def start(self, parts: list[Any]) -> _Node:
        node: _Node = parts[0]
        return node

    def group(self, parts: list[Any]) -> _Node:
        node: _Node = parts[1]
        return node

    def any_of(self, parts: list[Any]) -> _Operation:
        return _Operation("or", tuple(parts[::2]), parts[1].start_pos)

    def all_of(self, parts: list[Any]) -> _Operation:
        return _Operation("and", tuple(parts[::2]), parts[1].start_pos)

    def negated(self, parts: list[Any]) -> _Operation:
        return _Operation("not", (parts[1],), parts[0].start_pos)

    def compare(self, parts: list[Any]) -> _Operation:
        return _Operation(_OPERATORS[str(parts[1])], (parts[0], parts[2]), parts[1].start_pos)

    def like(self, parts: list[Any]) -> _Operation:
        return _Operation("like", (parts[0], parts[2]), parts[1].start_pos)

    def field(self, parts: list[Any]) -> _Field:
        return _Field(str(parts[0]).rsplit(".", 1)[-1], parts[0].start_pos)

    def member(self, parts: list[Any]) -> _Given:
        return _Given("member", str(parts[2]), parts[0].start_pos, str(parts[0]))

    def text(self, parts: list[Any]) -> _Given:
        return _Given("text", re.sub(r"\\(.)", r"\1", str(parts[0])[1:-1]), parts[0].start_pos)

    def number(self, parts: list[Any]) -> _Given:
        return _Given("number", str(parts[0]), parts[0].start_pos)

    def negative(self, parts: list[Any]) -> _Given:
        return _Given("number", f"-{parts[1]}", parts[0].start_pos)

    def date(self, parts: list[Any]) -> _Given:
        return _Given("date", str(parts[0]), parts[0].start_pos)


_PARSER = Lark(
    files("isthmus.query").joinpath("ranges.lark").read_text(encoding="utf-8"),
    parser="lalr",
    lexer=_Words,
    transformer=_Build(),
)

_SAID = {
    "NAME": "a field",
    "TEXT": "a text",
    "NUMBER": "a number",
    "DATE": "a date",
    "COMPARE": "a comparison (==, !=, >, >=, <, <=)",
    "LIKE": "like",
    "MEMBER": "'::'",
    "AND": "'&&'",
    "OR": "'||'",
    "NOT": "'!'",
    "MINUS": "'-'",
    "LPAR": "'('",
    "RPAR": "')'",
    "$END": "the end",
}


def _read(text: str) -> _Node:
    if len(text) > MAX_CHARACTERS or "\x00" in text:
        raise Rejected(f"A range has at most {MAX_CHARACTERS:,} characters and no NUL.", code="query_too_complex")
    words = list(_tokens(text))
    try:
        node: _Node = _PARSER.parse(words)  # type: ignore[assignment]  # our tree builder
    except UnexpectedToken as error:
        wanted = ", ".join(sorted({_SAID.get(name, name) for name in error.accepts or error.expected}))
        position = error.token.start_pos if error.token.type != "$END" else None
        if position is None:
            raise _error(f"Something is missing: expected {wanted}", text, len(text)) from None
        raise _error(f"Unexpected '{error.token}': expected {wanted}", text, position) from None
    return node


class _Binder:
    """Binds a range to the fields of one relation."""

    def __init__(self, relation: Relation) -> None:
        self._relation = relation

    def condition(self, node: _Node) -> Condition:
        if not isinstance(node, _Operation):
            raise mismatch("A range must compare something.")
        match node.operator:
            case "and":
                return And(tuple(self.condition(operand) for operand in node.operands))
            case "or":
                return Or(tuple(self.condition(operand) for operand in node.operands))
            case "not":
                return Not(self.condition(node.operands[0]))
            case "like":
                return self._like(*node.operands)
            case "eq" | "ne" | "gt" | "ge" | "lt" | "le":
                return self._comparison(node.operator, *node.operands)
        raise mismatch(f"{node.operator} is no comparison.")

    def _comparison(self, operator: Operator, left: _Node, right: _Node) -> Condition:
        if not isinstance(left, _Field) and isinstance(right, _Field):
            left, right, operator = right, left, MIRRORED[operator]
        if not isinstance(left, _Field):
            raise mismatch("A range compares a field with a value.")
        path = self._path(left)
        if isinstance(right, _Field):
            return Comparison(operator, path, self._other(path, right))
        if not isinstance(right, _Given):
            raise mismatch("A condition stands where a value is needed.")
        return Comparison(operator, path, self._value(path, right))

    def _other(self, path: Path, field: _Field) -> Path:
        """Two fields; their kinds must be one, or both numbers."""
        other = self._path(field)
        if path.kind is not other.kind and not {path.kind, other.kind} <= NUMBERS:
            raise mismatch(f"{path.column.name} and {other.column.name} cannot be compared.")
        return other

    def _like(self, left: _Node, right: _Node) -> Condition:
        if not isinstance(left, _Field) or not isinstance(right, _Given) or right.kind != "text":
            raise mismatch('like compares a field with a text, such as name like "A*".')
        path = self._path(left)
        if path.kind is not Kind.TEXT:
            raise mismatch(f"like goes with text; {path.column.name} holds none.")
        return Match("like", path, Value(right.text, Kind.TEXT))

    def _path(self, field: _Field) -> Path:
        column = self._relation.columns.get(field.name.lower())
        if column is None:
            raise Rejected(
                f"Could not find a field named '{field.name}' on '{self._relation.name}'.",
                code="property_not_found",
                property=field.name,
                relation=self._relation.name,
            )
        return Path((), column, 0, self._relation.no_null)

    def _value(self, path: Path, given: _Given) -> Value:
        """The value beside a field. A number beside text is its digits; NoYes::Yes beside a boolean is true."""
        kind, column = path.kind, path.column
        if given.kind == "date":
            return self._date(path, given)
        if given.kind == "member" and given.enum is not None:
            expected = column.enum_type.rsplit(".", 1)[-1] if column.enum_type else None
            if kind is Kind.ENUM and expected is not None and expected.lower() != given.enum.lower():
                raise mismatch(f"{column.name} holds members of {expected}, not of {given.enum}.")
        if kind is Kind.BOOLEAN:
            word = given.text.lower()
            if word not in ("yes", "no", "true", "false", "1", "0"):
                raise mismatch(f"{given.text} is neither yes nor no, as {column.name} is.")
            return Value(word in ("yes", "true", "1"), Kind.BOOLEAN)
        if kind is Kind.TEXT:
            return Value(given.text, Kind.TEXT)
        if not given.text:
            return Value(None, kind)
        literal = Literal(
            "text" if given.kind != "number" else "decimal" if "." in given.text else "integer",
            given.text if given.kind == "number" else "'" + given.text.replace("'", "''") + "'",
        )
        return value_of(literal, kind, column, quoted=True)

    def _date(self, path: Path, given: _Given) -> Value:
        day, month, year = given.text.split("\\")
        try:
            value = date(int(year), int(month), int(day))
        except ValueError:
            raise mismatch(f"{given.text} is no date; dates are written dd\\mm\\yyyy.") from None
        return value_of(Literal("date", value.isoformat()), path.kind, path.column)
