"""Integration keys as people read and write them. Between the halves a key's parts are kept apart by a character that
nobody types.
"""

from __future__ import annotations

from typing import overload

SEPARATOR = "\x1f"

IS_KEY = "replace(record_key, chr(31), ', ') = lower({})"
"""SQL that finds the records of a key: `{}` is the key as shown, in any letter case, as everywhere where keys meet."""


@overload
def shown_key(key: str) -> str: ...
@overload
def shown_key(key: str | None) -> str | None: ...
def shown_key(key: str | None) -> str | None:
    """An integration key as people read it."""
    return None if key is None else key.replace(SEPARATOR, ", ")
