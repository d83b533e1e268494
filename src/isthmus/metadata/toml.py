"""Writer of TOML for definition files: long lists one row per line, each row inline, so that a diff shows one row.

Reading is `tomllib`'s. Only what definition files hold is written: text, numbers, booleans, lists and tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


def write_document(document: Mapping[str, Any], rows: Sequence[str] = (), tables: Sequence[str] = ()) -> str:
    """TOML text of `document`.

    Keys in `rows` hold lists that are written one element per line; keys in `tables` hold lists of tables that are
    written as `[[key]]` at the end. Values that are None are left out, and inside rows also empty lists and tables.
    """
    lines: list[str] = []
    for key, value in document.items():
        if key in tables or value is None or (key in rows and not value):
            continue
        if key in rows:
            lines += ["", f"{_key(key)} = [", *(f"  {inline(row)}," for row in value), "]"]
        else:
            lines.append(f"{_key(key)} = {inline(value)}")
    for key in tables:
        for table in document.get(key) or ():
            lines += ["", f"[[{key}]]"]
            lines += [f"{_key(name)} = {inline(value)}" for name, value in table.items() if not _is_empty(value)]
    return "\n".join(lines).lstrip("\n") + "\n"


def inline(value: Any) -> str:
    """One value on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        parts = [f"{_key(key)} = {inline(item)}" for key, item in value.items() if not _is_empty(item)]
        return "{ " + ", ".join(parts) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    raise TypeError(f"TOML has no place for a {type(value).__name__}.")


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping | Sequence) and not isinstance(value, str) and not value)


def _number(value: int | float) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return str(int(value))
    return repr(value)


def _key(key: str) -> str:
    return key if _BARE_KEY.match(key) else _text(key)


def _text(value: str) -> str:
    if '"' in value and "'" not in value and "\\" not in value and value.isprintable():
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
