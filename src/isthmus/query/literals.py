"""Literals of query texts, and the values they stand for beside a column of some kind."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from typing import Literal as OneOf
from uuid import UUID

import msgspec

from isthmus.errors import Rejected
from isthmus.query.model import Kind, QueryColumn, Value

LiteralKind = OneOf["text", "json", "guid", "datetime", "date", "decimal", "integer"]
"""`text` stands between single quotes (doubled inside), `json` between double quotes."""

INT64 = range(-(2**63), 2**63)
INT32 = range(-(2**31), 2**31)
MAX_NUMBER_CHARACTERS = 100
MAX_EXPONENT = 300
"""Decimal exponent, either sign: numeric could hold more, and would fill memory with it."""


class Literal(msgspec.Struct, frozen=True):
    """A literal as it stands in the text, quotes included. `slot` is its number among the literals of the query."""

    kind: LiteralKind
    text: str
    slot: int | None = None
    position: int = 0


Converter = Callable[[str], Any]


def mismatch(message: str, **details: Any) -> Rejected:
    """A literal or operand whose type does not go with what it is compared to."""
    return Rejected(message, code="type_mismatch", **details)


def text_of(raw: str) -> str:
    """The text of a literal `'...'` or `"..."`. Rejected when JSON escapes spell what is no text."""
    if raw[0] == "'":
        return raw[1:-1].replace("''", "'")
    try:
        text = json.loads(raw, strict=False)
        text.encode()
    except (ValueError, UnicodeEncodeError) as error:
        raise Rejected(f"{raw} is not a JSON string.", code="query_syntax") from error
    if "\x00" in text:
        raise Rejected(f"{raw} holds the character NUL, which no column can hold.", code="query_syntax")
    return str(text)


def integer_of(raw: str) -> int:
    """A whole number of 64 bits."""
    text = text_of(raw) if raw[0] in "'\"" else raw
    try:
        value = int(text) if len(text) <= 20 and text.isascii() else None
    except ValueError:
        value = None
    if value is None or value not in INT64:
        raise mismatch(f"{raw} is not a whole number of 64 bits.")
    return value


def decimal_of(raw: str) -> Decimal:
    """A decimal number, with or without exponent."""
    text = text_of(raw) if raw[0] in "'\"" else raw
    try:
        value = Decimal(text) if len(text) <= MAX_NUMBER_CHARACTERS else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or abs(value.adjusted()) > MAX_EXPONENT:
        raise mismatch(f"{raw} is not a number that can be compared.")
    return value


def double_of(raw: str) -> float:
    return float(decimal_of(raw))


def boolean_of(raw: str) -> bool:
    text = text_of(raw).lower()
    if text not in ("true", "false", "1", "0"):
        raise mismatch(f"{raw} is neither true nor false.")
    return text in ("true", "1")


def uuid_of(raw: str) -> UUID:
    """A GUID, bare or quoted."""
    text = text_of(raw) if raw[0] in "'\"" else raw
    try:
        return UUID(text)
    except ValueError:
        raise mismatch(f"{raw} is not a GUID.") from None


def timestamp_of(raw: str) -> datetime:
    """A moment: with an offset, or without one in UTC; or a date, whose midnight in UTC is meant."""
    text = text_of(raw) if raw[0] in "'\"" else raw
    try:
        moment = datetime.fromisoformat(_with_plus(text))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise mismatch(f"{raw} is not a date and time, such as 2026-01-31T10:00:00Z.") from None


def date_of(raw: str) -> date:
    """A date; of a date and time, the day in UTC."""
    return timestamp_of(raw).date()


def _with_plus(text: str) -> str:
    """`+` of an offset is a space once a query string is decoded: 2026-01-31T10:00:00 01:00."""
    if len(text) > 6 and text[-6] == " " and text[-3] == ":" and "T" in text:
        return f"{text[:-6]}+{text[-5:]}"
    return text


def symbol_key(symbol: str) -> str:
    """Symbols of enums compare without regard to case and underscores."""
    return symbol.replace("_", "").lower()


def member_of(labels: Mapping[int, str], name: str, raw: str) -> int:
    """The value of an enum's member given by its symbol, or by its number."""
    text = text_of(raw) if raw[0] in "'\"" else raw
    wanted = symbol_key(text)
    for value, symbol in labels.items():
        if symbol_key(symbol) == wanted:
            return value
    number = text.lstrip("-")
    if number.isascii() and number.isdigit() and len(number) < 10 and (int(text) in labels or raw[0] not in "'\""):
        return int(text)
    if not wanted:
        return 0
    raise mismatch(f"{raw} is no member of {name}.")


def choice_of(raw: str) -> int:
    """An option value, quoted or not."""
    value = integer_of(raw)
    if value not in INT32:
        raise mismatch(f"{raw} is not an option value: those have 32 bits.")
    return value


_CONVERTERS: dict[Kind, dict[LiteralKind, tuple[Kind, Converter]]] = {
    Kind.TEXT: {"text": (Kind.TEXT, text_of), "json": (Kind.TEXT, text_of)},
    Kind.INTEGER: {"integer": (Kind.BIG_INT, integer_of), "decimal": (Kind.DECIMAL, decimal_of)},
    Kind.BIG_INT: {"integer": (Kind.BIG_INT, integer_of), "decimal": (Kind.DECIMAL, decimal_of)},
    Kind.DECIMAL: {"integer": (Kind.DECIMAL, decimal_of), "decimal": (Kind.DECIMAL, decimal_of)},
    Kind.DOUBLE: {"integer": (Kind.DOUBLE, double_of), "decimal": (Kind.DOUBLE, double_of)},
    Kind.CHOICE: {
        "integer": (Kind.BIG_INT, integer_of),
        "decimal": (Kind.DECIMAL, decimal_of),
        "text": (Kind.BIG_INT, integer_of),
    },
    Kind.BOOLEAN: {},
    Kind.UUID: {"guid": (Kind.UUID, uuid_of), "text": (Kind.UUID, uuid_of), "json": (Kind.UUID, uuid_of)},
    Kind.TIMESTAMP: {
        "datetime": (Kind.TIMESTAMP, timestamp_of),
        "date": (Kind.TIMESTAMP, timestamp_of),
        "text": (Kind.TIMESTAMP, timestamp_of),
        "json": (Kind.TIMESTAMP, timestamp_of),
    },
    Kind.DATE: {
        "datetime": (Kind.DATE, date_of),
        "date": (Kind.DATE, date_of),
        "text": (Kind.DATE, date_of),
        "json": (Kind.DATE, date_of),
    },
}

_QUOTED: dict[Kind, tuple[Kind, Converter]] = {
    Kind.INTEGER: (Kind.BIG_INT, integer_of),
    Kind.BIG_INT: (Kind.BIG_INT, integer_of),
    Kind.DECIMAL: (Kind.DECIMAL, decimal_of),
    Kind.DOUBLE: (Kind.DOUBLE, double_of),
    Kind.CHOICE: (Kind.BIG_INT, integer_of),
    Kind.CHOICES: (Kind.CHOICE, choice_of),
    Kind.BOOLEAN: (Kind.BOOLEAN, boolean_of),
}
"""What query functions of Dataverse accept: their values are JSON strings whatever the column's type."""

NATURAL: dict[LiteralKind, Kind] = {
    "text": Kind.TEXT,
    "json": Kind.TEXT,
    "guid": Kind.UUID,
    "datetime": Kind.TIMESTAMP,
    "date": Kind.DATE,
    "decimal": Kind.DECIMAL,
    "integer": Kind.BIG_INT,
}
"""The kind of a literal that stands beside another literal."""


def value_of(literal: Literal, kind: Kind, column: QueryColumn | None = None, *, quoted: bool = False) -> Value:
    """The value a literal stands for beside an expression of `kind`.

    `quoted` accepts quoted numbers and booleans, too. Rejected with code `type_mismatch` when they do not go together.
    """
    if kind is Kind.ENUM and column is not None and literal.kind in ("text", "json", "integer"):
        convert: Converter = functools.partial(member_of, column.labels, column.enum_type or column.name)
        bound = Kind.ENUM
    else:
        found = _CONVERTERS.get(kind, {}).get(literal.kind)
        if found is None and quoted and literal.kind in ("text", "json", "integer"):
            found = _QUOTED.get(kind)
        if found is None:
            subject = f"the column {column.name}" if column is not None else "the other side"
            raise mismatch(
                f"{literal.text[:100]} cannot be compared with {subject}, which holds {_said(kind)}.",
                column=column.name if column is not None else None,
            )
        bound, convert = found
    return Value(convert(literal.text), bound, literal.slot, convert)


def _said(kind: Kind) -> str:
    return {
        Kind.UUID: "a GUID",
        Kind.TIMESTAMP: "a date and time",
        Kind.DATE: "a date",
        Kind.TEXT: "text",
        Kind.BOOLEAN: "true or false",
        Kind.ENUM: "a member of an enum",
        Kind.CHOICE: "an option value",
        Kind.CHOICES: "several option values",
        Kind.BINARY: "bytes",
    }.get(kind, "a number")
