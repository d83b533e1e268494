"""Resource paths of OData addresses, cut into segments; what the names mean is for the halves to say."""

from __future__ import annotations

import re

import msgspec

from isthmus.errors import Rejected
from isthmus.query.literals import Literal
from isthmus.query.odata import decode_text
from isthmus.query.odata_lexer import LITERAL

MAX_PATH_CHARACTERS = 8_192
MAX_SEGMENTS = 12

_NAME = re.compile(r"[^/()]+")
_TEXT = r"'(?:[^']|'')*+'"
_STRICT = re.compile(rf"\((?P<inside>(?:[^'()]|{_TEXT}|\([^'()]*+\))*+)\)(?=/|$)")
"""Parentheses whose quotes are paired. Nothing is tried twice: the groups are possessive."""
_LENIENT = re.compile(r"\((?P<inside>.*?)\)(?=/|$)", re.DOTALL)
"""Parentheses around a text with a lone quote, as some clients send it: they end before the next segment."""
_ARGUMENT = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_][\w.]*)\s*=\s*)?(?P<value>'(?:[^']|'')*'|[^',]*(?:'(?:[^']|'')*')?)\s*"
)
_LENIENT_ARGUMENT = re.compile(
    r"\s*+(?:(?P<name>[A-Za-z_][\w.]*+)\s*+=\s*+)?(?P<value>'.*?'|[^',]*+)\s*+(?=$|,\s*+[A-Za-z_][\w.]*+\s*+=)",
    re.DOTALL,
)


class Argument(msgspec.Struct, frozen=True):
    """One key value, or one parameter of a function. `name` is None for the value of a single key.

    `text` is the value as written; `literal` the literal it is, or None when it is anything else, such as an alias.
    """

    name: str | None
    text: str
    literal: Literal | None

    @property
    def alias(self) -> str | None:
        """The parameter alias that holds the value, if it is one, such as @p1."""
        return self.text if self.text.startswith("@") else None


class Segment(msgspec.Struct, frozen=True):
    """One segment: its name, and what stands in its parentheses; None when it has none.

    The name of `Microsoft.Dynamics.CRM.WhoAmI` is whole, namespace included.
    """

    name: str
    arguments: tuple[Argument, ...] | None = None

    @property
    def key(self) -> dict[str, Argument]:
        """Arguments by lower-case name; the value of a single key is under the empty name."""
        return {(argument.name or "").lower(): argument for argument in self.arguments or ()}


def parse_path(path: str) -> tuple[Segment, ...]:
    """The segments of a path below the service root, percent-encoded or not; none for the root itself.

    Rejected with code `path_syntax` for what cannot be read, `query_too_complex` for what is too long.
    """
    if len(path) > MAX_PATH_CHARACTERS:
        raise Rejected(f"A path has at most {MAX_PATH_CHARACTERS:,} characters.", code="query_too_complex")
    text = decode_text(path, plus=False).strip("/")
    if "\x00" in text:
        raise Rejected("The address holds the character NUL.", code="path_syntax")
    segments: list[Segment] = []
    position = 0
    while position < len(text):
        segment, position = _segment(text, position)
        segments.append(segment)
        if len(segments) > MAX_SEGMENTS:
            raise Rejected(f"A path has at most {MAX_SEGMENTS} segments.", code="query_too_complex")
    return tuple(segments)


def _segment(text: str, position: int) -> tuple[Segment, int]:
    """The segment that begins at `position`, and where the next one begins."""
    name = _NAME.match(text, position)
    if name is None:
        raise _error("A segment has no name", text, position)
    end = name.end()
    arguments = None
    if text[end : end + 1] == "(":
        strict = _STRICT.match(text, end)
        found = strict or _LENIENT.match(text, end)
        if found is None:
            raise _error("A parenthesis is not closed", text, end)
        inside = found["inside"]
        arguments = _arguments(inside, _ARGUMENT) if strict else None
        if arguments is None:
            arguments = _arguments(inside, _LENIENT_ARGUMENT)
        if arguments is None:
            raise _error("The key or parameters cannot be read", text, end)
        end = found.end()
    if end < len(text):
        if text[end] != "/":
            raise _error(f"Unexpected character {text[end]!r}", text, end)
        end += 1
    return Segment(name.group().strip(), arguments), end


def _arguments(inside: str, pattern: re.Pattern[str]) -> tuple[Argument, ...] | None:
    """What stands between parentheses; None when the pattern does not fit."""
    if not inside.strip():
        return ()
    found: list[Argument] = []
    position = 0
    while True:
        match = pattern.match(inside, position)
        if match is None or not match["value"].strip():
            return None
        found.append(_argument(match["name"], match["value"].strip()))
        position = match.end()
        if position == len(inside):
            break
        if inside[position] != ",":
            return None
        position += 1
    names = [argument.name for argument in found]
    if len(found) > 1 and (None in names or len({str(name).lower() for name in names}) < len(names)):
        return None
    return tuple(found)


def _argument(name: str | None, value: str) -> Argument:
    if len(value) >= 2 and value[0] == value[-1] == "'":
        inner = value[1:-1].replace("''", "'").replace("'", "''")
        return Argument(name, value, Literal("text", f"'{inner}'"))
    match = LITERAL.fullmatch(value)
    if match is None or match.lastgroup in (None, "unclosed"):
        return Argument(name, value, None)
    return Argument(name, value, Literal(match.lastgroup, value))  # type: ignore[arg-type]  # groups are literal kinds


def _error(message: str, text: str, position: int) -> Rejected:
    return Rejected(f"{message} at position {position + 1} of '{text[:200]}'.", code="path_syntax")
