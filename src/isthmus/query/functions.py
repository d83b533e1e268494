"""Functions and arithmetic of expressions: what they take, what they give, and their SQL.

`docs/reference/odata_support.md` lists them. Moments are read in UTC.
"""

from __future__ import annotations

import msgspec

from isthmus.query.model import NUMBERS, Kind

_TEXT = frozenset({Kind.TEXT})
_WHOLE = frozenset({Kind.INTEGER, Kind.BIG_INT, Kind.CHOICE})
_DAY = frozenset({Kind.DATE, Kind.TIMESTAMP})
_MOMENT = frozenset({Kind.TIMESTAMP})


class Signature(msgspec.Struct, frozen=True):
    """A function: kinds each argument may have, the kind of its result, and SQL with `{0}`, `{1}` for arguments.

    `given` says what kind a literal in each place becomes. `shorter` is the SQL without the last argument, for
    functions that may leave it out.
    """

    arguments: tuple[frozenset[Kind], ...]
    given: tuple[Kind, ...]
    result: Kind
    sql: str
    shorter: str | None = None


def _of_text(result: Kind, sql: str, count: int = 1) -> Signature:
    return Signature((_TEXT,) * count, (Kind.TEXT,) * count, result, sql)


def _part(part: str, kinds: frozenset[Kind]) -> Signature:
    return Signature((kinds,), (Kind.TIMESTAMP,), Kind.INTEGER, f"floor(extract({part} from {{0}}))::integer")


def _of_number(sql: str) -> Signature:
    return Signature((NUMBERS,), (Kind.DECIMAL,), Kind.DECIMAL, sql)


FUNCTIONS: dict[str, Signature] = {
    "length": _of_text(Kind.INTEGER, "char_length({0})"),
    "indexof": _of_text(Kind.INTEGER, "(strpos(lower({0}), lower({1})) - 1)", 2),
    "substring": Signature(
        (_TEXT, _WHOLE, _WHOLE),
        (Kind.TEXT, Kind.BIG_INT, Kind.BIG_INT),
        Kind.TEXT,
        "substr({0}, least(greatest({1}, 0), 1000000000)::integer + 1, least(greatest({2}, 0), 1000000000)::integer)",
        "substr({0}, least(greatest({1}, 0), 1000000000)::integer + 1)",
    ),
    "tolower": _of_text(Kind.TEXT, "lower({0})"),
    "toupper": _of_text(Kind.TEXT, "upper({0})"),
    "trim": _of_text(Kind.TEXT, "btrim({0})"),
    "concat": _of_text(Kind.TEXT, "({0} || {1})", 2),
    "year": _part("year", _DAY),
    "month": _part("month", _DAY),
    "day": _part("day", _DAY),
    "hour": _part("hour", _MOMENT),
    "minute": _part("minute", _MOMENT),
    "second": _part("second", _MOMENT),
    "date": Signature((_DAY,), (Kind.TIMESTAMP,), Kind.DATE, "({0})::date"),
    "round": _of_number("round({0}::numeric)"),
    "floor": _of_number("floor({0}::numeric)"),
    "ceiling": _of_number("ceiling({0}::numeric)"),
    "now": Signature((), (), Kind.TIMESTAMP, "now()"),
}
"""Round is OData's: halves away from zero."""

ARITHMETIC: dict[str, str] = {
    "add": "({0}::numeric + {1}::numeric)",
    "sub": "({0}::numeric - {1}::numeric)",
    "mul": "({0}::numeric * {1}::numeric)",
    "div": "({0}::numeric / nullif({1}::numeric, 0))",
    "mod": "mod({0}::numeric, nullif({1}::numeric, 0))",
}
"""Computed as numeric, so that nothing overflows; a division by zero is null, which compares with nothing."""

WHOLE_DIVISION = "div({0}::numeric, nullif({1}::numeric, 0))"
"""`div` of two whole numbers, cut towards zero."""

WHOLE = _WHOLE
"""Kinds of whole numbers."""

TEXT_MATCHES = frozenset({"contains", "startswith", "endswith"})
"""Functions of two texts that are conditions."""
