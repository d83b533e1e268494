"""The grammar of OData query options: from text to a syntax tree that knows nothing of relations yet."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from typing import Literal as OneOf

import msgspec
from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

from isthmus.query.literals import Literal
from isthmus.query.odata_lexer import Word, syntax_error, tokens_of


class Constant(msgspec.Struct, frozen=True):
    """`null`, `true` or `false`."""

    value: bool | None
    position: int


class EnumSyntax(msgspec.Struct, frozen=True):
    """A member of an enum, such as Microsoft.Dynamics.DataEntities.NoYes'Yes'."""

    type_name: str
    literal: Literal
    position: int


class AliasSyntax(msgspec.Struct, frozen=True):
    """A parameter alias, `@p1`."""

    name: str
    position: int


class PathSyntax(msgspec.Struct, frozen=True):
    """Names between slashes."""

    names: tuple[str, ...]
    position: int


class CallSyntax(msgspec.Struct, frozen=True):
    """A function with its arguments; those given by name have one."""

    name: str
    arguments: tuple[tuple[str | None, Syntax], ...]
    position: int


class OperationSyntax(msgspec.Struct, frozen=True):
    """`and`, `or`, `not`, a comparison, `in`, or an arithmetic operator, with its operands."""

    operator: str
    operands: tuple[Syntax, ...]
    position: int


class LambdaSyntax(msgspec.Struct, frozen=True):
    """`any` or `all` of a collection; without variable and condition: whether there is a member."""

    path: PathSyntax
    how: OneOf["any", "all"]
    variable: str | None
    condition: Syntax | None
    position: int


class ListSyntax(msgspec.Struct, frozen=True):
    """Several values in parentheses or brackets."""

    items: tuple[Syntax, ...]
    position: int


Syntax = (
    Literal
    | Constant
    | EnumSyntax
    | AliasSyntax
    | PathSyntax
    | CallSyntax
    | OperationSyntax
    | LambdaSyntax
    | ListSyntax
)


class OrderSyntax(msgspec.Struct, frozen=True):
    expression: Syntax
    descending: bool


class NameSyntax(msgspec.Struct, frozen=True):
    """One name of `$select`, or `*`."""

    name: str
    position: int


class ExpandSyntax(msgspec.Struct, frozen=True):
    """One navigation property of `$expand`, with the options in its parentheses."""

    name: str
    position: int
    reference_only: bool
    options: OptionsSyntax


class OptionsSyntax(msgspec.Struct, frozen=True, kw_only=True):
    """Query options, read."""

    select: tuple[NameSyntax, ...] | None = None
    filter: Syntax | None = None
    orderby: tuple[OrderSyntax, ...] = ()
    expand: tuple[ExpandSyntax, ...] = ()
    top: Literal | None = None
    skip: Literal | None = None
    count: bool = False


def read_condition(text: str, first_slot: int = 0) -> Syntax:
    """The condition of `$filter`."""
    tree: Syntax = _read("condition", text, first_slot)
    return tree


def read_orderby(text: str, first_slot: int = 0) -> tuple[OrderSyntax, ...]:
    """The expressions of `$orderby`."""
    orders: tuple[OrderSyntax, ...] = _read("orderby", text, first_slot)
    return orders


def read_select(text: str) -> tuple[NameSyntax, ...]:
    """The names of `$select`."""
    names: tuple[NameSyntax, ...] = _read("select", text, 0)
    return names


def read_expand(text: str, first_slot: int = 0) -> tuple[ExpandSyntax, ...]:
    """The navigation properties of `$expand`."""
    expansions: tuple[ExpandSyntax, ...] = _read("expand", text, first_slot)
    return expansions


def read_value(text: str, first_slot: int = 0) -> Syntax:
    """The value of a parameter alias."""
    return read_condition(text, first_slot)


class _Words(Lexer):
    """Gives the parser the words that `tokens_of` has already split and counted."""

    def __init__(self, lexer_conf: Any) -> None:
        pass

    def lex(self, lexer_state: Any, parser_state: Any = None) -> Iterator[Token]:
        for word in lexer_state:
            token = Token(word.type, word.text, start_pos=word.position)
            if word.literal is not None:
                token.value = word.literal
            yield token


class _Build(Transformer[Token, Any]):
    """Builds the syntax tree while the parser reduces; each method gets the parts of the rule it is named after."""

    def condition(self, parts: list[Any]) -> Syntax:
        tree: Syntax = parts[0]
        return tree

    def group(self, parts: list[Any]) -> Syntax:
        tree: Syntax = parts[1]
        return tree

    def any_of(self, parts: list[Any]) -> OperationSyntax:
        return OperationSyntax("or", tuple(parts[::2]), _position(parts[1]))

    def all_of(self, parts: list[Any]) -> OperationSyntax:
        return OperationSyntax("and", tuple(parts[::2]), _position(parts[1]))

    def negation(self, parts: list[Any]) -> OperationSyntax:
        return OperationSyntax("not", (parts[1],), _position(parts[0]))

    def compare(self, parts: list[Any]) -> OperationSyntax:
        return OperationSyntax(str(parts[1]), (parts[0], parts[2]), _position(parts[1]))

    def among(self, parts: list[Any]) -> OperationSyntax:
        return OperationSyntax("in", (parts[0], parts[2]), _position(parts[1]))

    def arithmetic(self, parts: list[Any]) -> Syntax:
        tree: Syntax = parts[0]
        for operator, operand in zip(parts[1::2], parts[2::2], strict=True):
            tree = OperationSyntax(str(operator), (tree, operand), _position(operator))
        return tree

    def literal(self, parts: list[Any]) -> Literal:
        return _literal(parts[0])

    def constant(self, parts: list[Any]) -> Constant:
        return Constant({"null": None, "true": True, "false": False}[str(parts[0])], _position(parts[0]))

    def alias(self, parts: list[Any]) -> AliasSyntax:
        return AliasSyntax(str(parts[0]), _position(parts[0]))

    def enum(self, parts: list[Any]) -> EnumSyntax:
        return EnumSyntax(str(parts[0]), _literal(parts[1]), _position(parts[0]))

    def path(self, parts: list[Any]) -> PathSyntax:
        return PathSyntax((str(parts[0]),), _position(parts[0]))

    def longer_path(self, parts: list[Any]) -> PathSyntax:
        shorter, _, name = parts
        return PathSyntax((*shorter.names, str(name)), shorter.position)

    def call(self, parts: list[Any]) -> CallSyntax:
        given = [part for part in parts[2:-1] if part is not None and not isinstance(part, Token)]
        arguments = tuple(part if isinstance(part, tuple) else (None, part) for part in given)
        return CallSyntax(str(parts[0]), arguments, _position(parts[0]))

    def named(self, parts: list[Any]) -> tuple[str, Syntax]:
        return str(parts[0]), parts[2]

    def quantified(self, parts: list[Any]) -> LambdaSyntax:
        path, _, how, _, variable, _, condition, _ = parts if len(parts) == 8 else [*parts[:4], None, None, None, None]
        kind: OneOf["any", "all"] = "any" if str(how) == "any" else "all"
        return LambdaSyntax(path, kind, None if variable is None else str(variable), condition, _position(how))

    def listed(self, parts: list[Any]) -> ListSyntax:
        items = tuple(part for part in parts[1:-1] if part is not None and not isinstance(part, Token))
        return ListSyntax(items, _position(parts[0]))

    def orderby(self, parts: list[Any]) -> tuple[OrderSyntax, ...]:
        return tuple(parts[::2])

    def order(self, parts: list[Any]) -> OrderSyntax:
        return OrderSyntax(parts[0], parts[1] is not None and str(parts[1]) == "desc")

    def select(self, parts: list[Any]) -> tuple[NameSyntax, ...]:
        return tuple(parts[::2])

    def name(self, parts: list[Any]) -> NameSyntax:
        return NameSyntax(str(parts[0]), _position(parts[0]))

    def expand(self, parts: list[Any]) -> tuple[ExpandSyntax, ...]:
        return tuple(parts[::2])

    def expansion(self, parts: list[Any]) -> ExpandSyntax:
        options: dict[str, Any] = {}
        for part in parts:
            if isinstance(part, tuple):
                word, value = part
                name = str(word).lower()[1:]
                if name in options:
                    raise _Repeated(word)
                options[name] = value
        reference_only = any(isinstance(part, Token) and part.type == "REF" for part in parts)
        return ExpandSyntax(str(parts[0]), _position(parts[0]), reference_only, OptionsSyntax(**options))

    def option(self, parts: list[Any]) -> tuple[Token, Any]:
        word, _, value = parts
        if isinstance(value, Token):
            if word.type == "COUNT":
                if str(value) == "null":
                    raise _Repeated(word)
                return word, str(value) == "true"
            return word, _literal(value)
        return word, value


class _Repeated(Exception):
    """An option that stands twice, or has a value it cannot have; raised inside the parser."""

    def __init__(self, word: Token) -> None:
        self.word = word


def _position(token: Any) -> int:
    position: int = token.start_pos
    return position


def _literal(token: Any) -> Literal:
    literal: Literal = token.value
    return literal


_PARSER = Lark(
    files("isthmus.query").joinpath("odata.lark").read_text(encoding="utf-8"),
    parser="lalr",
    lexer=_Words,
    transformer=_Build(),
    start=["condition", "orderby", "select", "expand"],
    maybe_placeholders=True,
)

_SAID = {
    "LITERAL": "a value",
    "CONSTANT": "null, true or false",
    "NAME": "a property",
    "FUNCTION": "a function",
    "COMPARE": "a comparison (eq, ne, gt, ge, lt, le)",
    "ADDITIVE": "add or sub",
    "MULTIPLICATIVE": "mul, div or mod",
    "DIRECTION": "asc or desc",
    "QUANTIFIER": "any or all",
    "ALIAS": "a parameter alias",
    "ENUM": "an enum's member",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "COMMA": "','",
    "SEMICOLON": "';'",
    "SLASH": "'/'",
    "EQUAL": "'='",
    "STAR": "'*'",
    "COLON": "':'",
    "$END": "the end",
}


def _read(start: str, text: str, first_slot: int) -> Any:
    words: list[Word] = tokens_of(text, first_slot)
    try:
        return _PARSER.parse(words, start=start)
    except UnexpectedToken as error:
        expected = sorted({_SAID.get(name, name.lower()) for name in error.accepts or error.expected})
        wanted = ", ".join(expected)
        if error.token.type == "$END":
            raise syntax_error(f"Something is missing: expected {wanted}", text, len(text)) from None
        position = _position(error.token)
        found = text[position:].split(" ", 1)[0][:40]
        raise syntax_error(f"Unexpected '{found}': expected {wanted}", text, position) from None
    except _Repeated as error:
        raise syntax_error(f"{error.word} stands twice or has no such value", text, _position(error.word)) from None
