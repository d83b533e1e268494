"""The filters of table maps read plainly: whether a record passes one, and values with which it would (or would not).

Both notations at once, as far as the shipped maps use them: comparisons of a column with a literal, and, or, not and
parentheses. `'x'` and `"x"` are text, `eq`, `=` and `==` the same; text compares without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_TOKEN = re.compile(r"""\s*(?:(?P<text>"[^"]*"|'[^']*')|(?P<sign>&&|\|\||==|!=|=|!|\(|\))|(?P<word>[\w.]+))""")
_SIGNS = {"&&": "and", "||": "or", "==": "eq", "=": "eq", "!=": "ne", "!": "not"}
_LITERALS = {"true": True, "false": False, "null": None}

Node = tuple[Any, ...]
"""("and" | "or", left, right), ("not", node), or ("eq" | "ne", name, literal)."""


def parse(text: str) -> Node | None:
    """The condition, or None when there is none."""
    tokens = []
    for match in _TOKEN.finditer(text.strip()):
        if match["text"]:
            tokens.append(("text", match["text"][1:-1]))
        else:
            word = match["sign"] or match["word"]
            tokens.append(("word", _SIGNS.get(word, word)))
    if not tokens:
        return None
    node = _either(tokens)
    assert not tokens, f"'{text}' was not read to its end"
    return node


def _either(tokens: list[tuple[str, str]]) -> Node:
    node = _both(tokens)
    while tokens and tokens[0] == ("word", "or"):
        tokens.pop(0)
        node = ("or", node, _both(tokens))
    return node


def _both(tokens: list[tuple[str, str]]) -> Node:
    node = _single(tokens)
    while tokens and tokens[0] == ("word", "and"):
        tokens.pop(0)
        node = ("and", node, _single(tokens))
    return node


def _single(tokens: list[tuple[str, str]]) -> Node:
    kind, word = tokens.pop(0)
    if (kind, word) == ("word", "("):
        node = _either(tokens)
        assert tokens.pop(0) == ("word", ")")
        return node
    if (kind, word) == ("word", "not"):
        return ("not", _single(tokens))
    _, operator = tokens.pop(0)
    assert operator in ("eq", "ne"), operator
    kind_of_literal, literal = tokens.pop(0)
    return (operator, word.lower(), literal if kind_of_literal == "text" else _literal(literal))


def _literal(word: str) -> Any:
    return _LITERALS[word.lower()] if word.lower() in _LITERALS else int(word)


def holds(text: str, row: Mapping[str, Any], symbols: Mapping[str, str]) -> bool:
    """Whether a row passes; `symbols` are the names of the row's enum values, which a text is compared with."""
    node = parse(text)
    return node is None or _holds(node, row, symbols)


def _holds(node: Node, row: Mapping[str, Any], symbols: Mapping[str, str]) -> bool:
    if node[0] == "and":
        return _holds(node[1], row, symbols) and _holds(node[2], row, symbols)
    if node[0] == "or":
        return _holds(node[1], row, symbols) or _holds(node[2], row, symbols)
    if node[0] == "not":
        return not _holds(node[1], row, symbols)
    operator, name, literal = node
    value = symbols.get(name, row[name]) if isinstance(literal, str) else row[name]
    if isinstance(literal, str) and isinstance(value, str):
        literal, value = literal.lower(), value.lower()
    return bool((value == literal) is (operator == "eq"))


class Wanted(NamedTuple):
    """What a column must be to pass: exactly `value`, or, with `excluded`, anything but these."""

    value: Any = None
    excluded: tuple[Any, ...] = ()


def ways(text: str, wanted: bool) -> list[dict[str, Wanted]]:
    """Ways to pass (or fail) a filter, each by column; none when nothing fails it."""
    node = parse(text)
    if node is None:
        return [{}] if wanted else []
    return _ways(node, wanted)


def _ways(node: Node, wanted: bool) -> list[dict[str, Wanted]]:
    if node[0] == "not":
        return _ways(node[1], not wanted)
    if node[0] in ("and", "or"):
        if (node[0] == "or") is wanted:
            return _ways(node[1], wanted) + _ways(node[2], wanted)
        pairs = [(left, right) for left in _ways(node[1], wanted) for right in _ways(node[2], wanted)]
        return [both for left, right in pairs if (both := _merged(left, right)) is not None]
    operator, name, literal = node
    return [{name: Wanted(literal) if (operator == "eq") is wanted else Wanted(excluded=(literal,))}]


def _merged(left: dict[str, Wanted], right: dict[str, Wanted]) -> dict[str, Wanted] | None:
    """Both at once; None when they contradict each other."""
    both = {**left, **right}
    for name in left.keys() & right.keys():
        one, other = sorted((left[name], right[name]), key=lambda w: bool(w.excluded))
        if one.excluded:
            both[name] = Wanted(excluded=(*one.excluded, *other.excluded))
        elif one.value in other.excluded or (not other.excluded and one.value != other.value):
            return None
        else:
            both[name] = one
    return both
