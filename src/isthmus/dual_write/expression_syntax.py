"""How expressions of field mappings are written: text -> tree, with limits on size and the position of what is wrong.

`if CREDITLIMIT > 1000 then upper(NAME) || " *" else NAME`. Words have no case. A field or column whose name is a word
of the language stands in brackets: `[OR]`. Text stands in single or double quotes; a quote inside is written twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from typing import Literal as OneOf

import msgspec
from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

from isthmus.errors import Rejected

MAX_CHARACTERS = 4_000
MAX_TERMS = 100
MAX_DEPTH = 20

NodeKind = OneOf[
    "text", "number", "truth", "field", "member", "call", "if", "or", "and", "not", "compare", "join", "calculate"
]

_TOKEN = re.compile(
    r"""
  (?P<SPACE>\s+)
| (?P<TEXT>"(?:[^"]|"")*"|'(?:[^']|'')*')
| (?P<NUMBER>\d{1,30}(?:\.\d{1,30})?)(?![\w.])
| (?P<FIELD>\[[A-Za-z_]\w*\])
| (?P<NAME>[A-Za-z_]\w*)
| (?P<MEMBER>::)
| (?P<COMPARE>==|!=|<>|>=|<=|=|>|<)
| (?P<JOIN>\|\|)
| (?P<SIGN>[+-])
| (?P<FACTOR>[*/])
| (?P<COMMA>,)
| (?P<LPAR>\()
| (?P<RPAR>\))
""",
    re.VERBOSE | re.ASCII,
)
_WORDS = {"if": "IF", "then": "THEN", "else": "ELSE", "or": "OR", "and": "AND", "not": "NOT"}
_TRUTHS = frozenset({"true", "false"})
_PREFIXES = frozenset({"NOT", "SIGN"})
_TERMS = frozenset({"TEXT", "NUMBER", "FIELD", "NAME"})


class Node(msgspec.Struct, frozen=True):
    """One part of an expression.

    `word` is the text of a literal, the name of a field, an enum or a function, or an operator; `member` the symbol of
    an enum's member. `position` counts characters from 1.
    """

    kind: NodeKind
    position: int
    word: str = ""
    parts: tuple[Node, ...] = ()
    member: str = ""


def parse(text: str) -> Node:
    """The tree of an expression; Rejected (`expression_syntax`, `expression_too_complex`) when it can't be read."""
    if len(text) > MAX_CHARACTERS or "\x00" in text:
        raise _too_complex(f"has at most {MAX_CHARACTERS:,} characters and no NUL")
    try:
        node: Node = _PARSER.parse(list(_tokens(text)))  # type: ignore[assignment]  # our tree builder
    except UnexpectedToken as error:
        wanted = ", ".join(sorted({_SAID.get(name, name) for name in error.accepts or error.expected}))
        if error.token.type == "$END":
            raise syntax_error(f"The expression ends too early: expected {wanted}", len(text) + 1) from None
        raise syntax_error(f"Unexpected '{error.token}': expected {wanted}", error.token.start_pos + 1) from None
    return node


def names_in(text: str) -> frozenset[str]:
    """Lower-case names of the fields or columns that an expression reads."""
    found: set[str] = set()
    rest = [parse(text)]
    while rest:
        node = rest.pop()
        rest.extend(node.parts)
        if node.kind == "field":
            found.add(node.word.lower())
    return frozenset(found)


def syntax_error(message: str, position: int) -> Rejected:
    """What is wrong, and at which character (from 1)."""
    return Rejected(f"{message}, at position {position}.", code="expression_syntax", position=position)


def _too_complex(message: str) -> Rejected:
    return Rejected(f"An expression {message}; make it shorter.", code="expression_too_complex")


def _tokens(text: str) -> Iterator[Token]:
    position = depth = terms = prefixes = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise syntax_error(f"Unexpected character {text[position]!r}", position + 1)
        kind, word = match.lastgroup, match.group()
        if kind == "NAME":
            kind = _WORDS.get(word.lower(), "TRUTH" if word.lower() in _TRUTHS else "NAME")
        depth += (kind == "LPAR") - (kind == "RPAR")
        prefixes = prefixes + 1 if kind in _PREFIXES else prefixes if kind == "SPACE" else 0
        terms += kind in _TERMS
        if depth + prefixes > MAX_DEPTH or terms > MAX_TERMS:
            raise _too_complex(f"has at most {MAX_TERMS} terms and is nested at most {MAX_DEPTH} deep")
        if kind != "SPACE":
            yield Token(kind, word, start_pos=position)
        position = match.end()


class _Words(Lexer):
    """Gives the parser the words of `_tokens`."""

    def __init__(self, lexer_conf: Any) -> None:
        pass

    def lex(self, lexer_state: Any, parser_state: Any = None) -> Iterator[Token]:
        return iter(lexer_state)


def _place(part: Any) -> int:
    return part.position if isinstance(part, Node) else int(part.start_pos) + 1


def _unquoted(word: str) -> str:
    return word[1:-1].replace(word[0] * 2, word[0])


class _Build(Transformer[Token, Any]):
    """Builds the tree while the parser reduces; each method gets the parts of the rule it is named after."""

    def start(self, parts: list[Any]) -> Node:
        node: Node = parts[0]
        return node

    def group(self, parts: list[Any]) -> Node:
        node: Node = parts[1]
        return node

    def choice(self, parts: list[Any]) -> Node:
        return Node("if", _place(parts[0]), parts=tuple(parts[1::2]))

    def connected(self, parts: list[Any]) -> Node:
        return Node("or" if parts[1].type == "OR" else "and", _place(parts[1]), parts=tuple(parts[::2]))

    def negated(self, parts: list[Any]) -> Node:
        return Node("not", _place(parts[0]), parts=(parts[1],))

    def compared(self, parts: list[Any]) -> Node:
        return Node("compare", _place(parts[1]), str(parts[1]), (parts[0], parts[2]))

    def text_of_all(self, parts: list[Any]) -> Node:
        return Node("join", _place(parts[1]), parts=tuple(parts[::2]))

    def calculated(self, parts: list[Any]) -> Node:
        left: Node = parts[0]
        for operator, right in zip(parts[1::2], parts[2::2], strict=True):
            left = Node("calculate", _place(operator), str(operator), (left, right))
        return left

    def with_sign(self, parts: list[Any]) -> Node:
        zero = Node("number", _place(parts[0]), "0")
        return Node("calculate", _place(parts[0]), str(parts[0]), (zero, parts[1]))

    def text(self, parts: list[Any]) -> Node:
        return Node("text", _place(parts[0]), _unquoted(str(parts[0])))

    def number(self, parts: list[Any]) -> Node:
        return Node("number", _place(parts[0]), str(parts[0]))

    def truth(self, parts: list[Any]) -> Node:
        return Node("truth", _place(parts[0]), str(parts[0]).lower())

    def field(self, parts: list[Any]) -> Node:
        return Node("field", _place(parts[0]), str(parts[0]).strip("[]"))

    def member(self, parts: list[Any]) -> Node:
        return Node("member", _place(parts[0]), str(parts[0]), member=str(parts[2]))

    def call(self, parts: list[Any]) -> Node:
        arguments = next((part for part in parts if isinstance(part, list)), [])
        return Node("call", _place(parts[0]), str(parts[0]).lower(), tuple(arguments))

    def arguments(self, parts: list[Any]) -> list[Any]:
        return parts[::2]


_PARSER = Lark(
    files("isthmus.dual_write").joinpath("expression.lark").read_text(encoding="utf-8"),
    parser="lalr",
    lexer=_Words,
    transformer=_Build(),
    maybe_placeholders=False,
)

_SAID = {
    "IF": "if",
    "THEN": "then",
    "ELSE": "else",
    "OR": "or",
    "AND": "and",
    "NOT": "not",
    "COMPARE": "a comparison (=, <>, <, <=, >, >=)",
    "JOIN": "'||'",
    "SIGN": "'+' or '-'",
    "FACTOR": "'*' or '/'",
    "COMMA": "','",
    "LPAR": "'('",
    "RPAR": "')'",
    "TEXT": "a text",
    "NUMBER": "a number",
    "TRUTH": "true or false",
    "FIELD": "a name",
    "NAME": "a name",
    "MEMBER": "'::'",
    "$END": "the end",
}
