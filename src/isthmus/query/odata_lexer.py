"""Words of OData query options.

The same pattern for literals serves two purposes: `shape_of` takes the literals out of a whole query string in one
sweep, so that queries that differ in literals only share one compiled plan; `tokens_of` splits one option for the
parser. Both number literals in the order in which they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from isthmus.errors import Rejected
from isthmus.query.literals import Literal, LiteralKind

MAX_DEPTH = 64
"""Nested parentheses, `not`s in a row, and arithmetic operators of one option."""
MAX_TERMS = 2_000
"""Names of one option; and literals of one option."""
MAX_PATH = 8
"""Names of one path, such as a/b/c."""

_LITERAL = r"""
  (?P<text>'(?:[^'\x00]|'')*+')
| (?P<json>"(?:[^"\\\x00]|\\[^\x00])*+")
| (?P<unclosed>'(?:[^'\x00]|'')*+(?=\x00|\Z)|"(?:[^"\\\x00]|\\[^\x00])*+(?=\x00|\Z|\\\Z))
| (?<![\w.$@-])(?:
    (?P<guid>[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})(?![\w.-])
  | (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,12})?)?(?:Z|[-+ ]\d\d:\d\d)?)(?![\w.:-])
  | (?P<date>\d{4}-\d\d-\d\d)(?![\w.:-])
  | (?P<decimal>-?\d+(?:\.\d+(?:[eE][-+]?\d+)?|[eE][-+]?\d+))(?![\w.:-])
  | (?P<integer>-?\d+)(?![\w.:-])
  )
"""

LITERAL = re.compile(r"""(?=['"\-0-9a-fA-F])(?:""" + _LITERAL + ")", re.VERBOSE | re.ASCII)

_TOKEN = re.compile(
    rf"""
  (?P<space>[ \t\r\n]+)
| {_LITERAL}
| (?P<alias>@\w+)
| (?P<option>\$\w+)
| (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
| (?P<symbol>[()\[\],;/=*:])
""",
    re.VERBOSE | re.ASCII,
)

_LITERAL_KINDS = frozenset({"text", "json", "guid", "datetime", "date", "decimal", "integer"})

_KEYWORDS = {
    "and": "AND",
    "or": "OR",
    "not": "NOT",
    "in": "IN",
    "eq": "COMPARE",
    "ne": "COMPARE",
    "gt": "COMPARE",
    "ge": "COMPARE",
    "lt": "COMPARE",
    "le": "COMPARE",
    "add": "ADDITIVE",
    "sub": "ADDITIVE",
    "mul": "MULTIPLICATIVE",
    "div": "MULTIPLICATIVE",
    "mod": "MULTIPLICATIVE",
    "asc": "DIRECTION",
    "desc": "DIRECTION",
    "null": "CONSTANT",
    "true": "CONSTANT",
    "false": "CONSTANT",
}
_OPTIONS = {
    "$select": "SELECT",
    "$filter": "FILTER",
    "$orderby": "ORDERBY",
    "$expand": "EXPAND",
    "$top": "TOP",
    "$skip": "SKIP",
    "$count": "COUNT",
    "$it": "NAME",
    "$ref": "REF",
}
_SYMBOLS = {
    "(": "LPAR",
    ")": "RPAR",
    "[": "LSQB",
    "]": "RSQB",
    ",": "COMMA",
    ";": "SEMICOLON",
    "/": "SLASH",
    "=": "EQUAL",
    "*": "STAR",
    ":": "COLON",
}


class Word(NamedTuple):
    """One token: its type in the grammar, its text, where it starts, and the literal it is, if it is one."""

    type: str
    text: str
    position: int
    literal: Literal | None = None


def shape_of(text: str) -> tuple[str, list[str]]:
    """`text` with each literal replaced by a mark of its kind, and the literals in order. NUL ends an option.

    Texts that compile to other SQL than most get marks of their own: the empty one, and one with `*` or `?`.
    """
    literals: list[str] = []
    pieces: list[str] = []
    end = 0
    for match in LITERAL.finditer(text):
        start = match.start()
        literal = match.group()
        kind = match.lastgroup
        if kind == "unclosed":
            raise _unclosed(text, start)
        if literal in ("''", '""'):
            kind = "empty"
        elif kind == "text" and ("*" in literal or "?" in literal):
            kind = "wild"
        pieces.append(text[end:start])
        pieces.append(f"\x01{kind}")
        literals.append(literal)
        end = match.end()
    pieces.append(text[end:])
    return "".join(pieces), literals


def count_literals(text: str) -> int:
    """How many literals `shape_of` finds in `text`."""
    return len(shape_of(text)[1])


def syntax_error(message: str, text: str, position: int) -> Rejected:
    """A query that cannot be read; `position` counts from 0, and is told from 1."""
    return Rejected(f"{message} at position {position + 1} of '{_shortened(text)}'.", code="query_syntax")


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "..."


def tokens_of(text: str, first_slot: int = 0) -> list[Word]:
    """The words of one option. Rejected for a character that starts no word, and for what exceeds the limits."""
    words = list(_words(text, first_slot))
    _check_limits(words, text)
    return words


def _words(text: str, slot: int) -> Iterator[Word]:
    position, length = 0, len(text)
    while position < length:
        match = _TOKEN.match(text, position)
        if match is None:
            raise syntax_error(f"Unexpected character {text[position]!r}", text, position)
        kind, word, start, position = match.lastgroup, match.group(), position, match.end()
        if kind == "space":
            continue
        if kind == "unclosed":
            raise _unclosed(text, start)
        if kind in _LITERAL_KINDS:
            literal_kind: LiteralKind = kind  # type: ignore[assignment]  # tested in the line above
            yield Word("LITERAL", word, start, Literal(literal_kind, word, slot, start))
            slot += 1
        elif kind == "name":
            yield Word(_name_type(text, word, position), word, start)
        elif kind == "option":
            found = _OPTIONS.get(word.lower())
            if found is None:
                raise syntax_error(f"Nothing known as {word}", text, start)
            yield Word(found, word, start)
        elif kind == "alias":
            yield Word("ALIAS", word, start)
        else:
            yield Word(_SYMBOLS[word], word, start)


def _name_type(text: str, word: str, end: int) -> str:
    keyword = _KEYWORDS.get(word)
    if keyword is not None:
        return keyword
    following = text[end : end + 1]
    if following == "(":
        return "QUANTIFIER" if word in ("any", "all") else "FUNCTION"
    if following == "'":
        return "ENUM"
    return "NAME"


def _unclosed(text: str, position: int) -> Rejected:
    which = "quote" if text[position] == "'" else "double quote"
    return syntax_error(f"A text that begins with a {which} has no closing {which}", text, position)


def _check_limits(words: list[Word], text: str) -> None:
    """Depth and length are bounded here, before the parser builds anything from the words."""
    arithmetic = names = literals = path = nots = 0
    open_nots: list[int] = []
    for word in words:
        kind = word.type
        path = path + 1 if kind == "SLASH" else path if kind in ("NAME", "FUNCTION", "QUANTIFIER") else 0
        names += kind in ("NAME", "FUNCTION", "ALIAS", "CONSTANT", "ENUM")
        literals += kind == "LITERAL"
        arithmetic += kind in ("ADDITIVE", "MULTIPLICATIVE")
        if kind == "NOT":
            nots += 1
        elif kind in ("LPAR", "LSQB"):
            open_nots.append(nots)
        elif kind in ("RPAR", "RSQB") and open_nots:
            nots = open_nots.pop()
        elif kind in ("AND", "OR", "COMMA"):
            nots = open_nots[-1] if open_nots else 0
        if len(open_nots) + nots + arithmetic > MAX_DEPTH:
            raise _too_complex(f"is nested deeper than {MAX_DEPTH}", text, word.position)
        if max(names, literals) > MAX_TERMS:
            raise _too_complex(f"has more than {MAX_TERMS:,} terms", text, word.position)
        if path >= MAX_PATH:
            raise _too_complex(f"follows more than {MAX_PATH} names in one path", text, word.position)


def _too_complex(why: str, text: str, position: int) -> Rejected:
    return Rejected(
        f"The query {why} (at position {position + 1} of {len(text):,}); split it into several.",
        code="query_too_complex",
    )
