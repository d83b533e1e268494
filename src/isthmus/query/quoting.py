"""How identifiers and constants are written into SQL: the only two places where text becomes part of a statement.

Identifiers come from the catalog, constants from definitions (labels, map filters). What a caller sends is bound.
"""

from __future__ import annotations

MAX_IDENTIFIER_BYTES = 63
"""PostgreSQL cuts longer identifiers silently, so that two of them could become one."""


def quote_identifier(name: str) -> str:
    """`name` as an SQL identifier. ValueError when PostgreSQL cannot hold it."""
    if not name or "\x00" in name:
        raise ValueError(f"an identifier must be text without NUL: {name!r}")
    if len(name.encode()) > MAX_IDENTIFIER_BYTES:
        raise ValueError(f"an identifier has at most {MAX_IDENTIFIER_BYTES} bytes: {name!r}")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """`text` as an SQL string constant, whatever `standard_conforming_strings` says."""
    if "\x00" in text:
        raise ValueError("PostgreSQL's text has no NUL")
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def escape_like(text: str) -> str:
    """`text` with LIKE's wildcards taken literally."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def wildcards_to_like(text: str) -> str:
    """A pattern with `*` (any text) and `?` (one character), as X++ and F&O's OData have it, as a LIKE pattern."""
    return escape_like(text).replace("*", "%").replace("?", "_")
