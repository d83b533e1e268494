"""Causes: the messages of errors with the values taken out, so that a thousand refusals for one reason are one line."""

from __future__ import annotations

import re
from collections.abc import Collection

PLACE = "…"
"""Stands where a value stood."""

_GUID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:[.,:\-/T]\d+)*Z?(?![\w])")
_QUOTED = re.compile(r"'([^']*)'")
_PAIR = re.compile(r"([\w.()]+) = [^{}]*?(?=, [\w.()]+ = |\})")


def cause_of(message: str, names: Collection[str], values: Collection[str]) -> str:
    """`message` without what is particular to one record.

    `names` are quoted words that stay, for they name definitions; `values` are taken out wherever they stand. Besides
    these go other quoted words, GUIDs, numbers, and what follows `path =` in a natural key.
    """
    for value in sorted(values, key=len, reverse=True):
        message = message.replace(f"'{value}'", f"'{PLACE}'").replace(f"record {value}", f"record {PLACE}")
        if len(value) > 2:
            message = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", PLACE, message)
    kept = {name.lower() for name in names}
    message = _QUOTED.sub(lambda found: found[0] if found[1].lower() in kept else f"'{PLACE}'", message)
    message = _PAIR.sub(rf"\1 = {PLACE}", message)
    message = _GUID.sub(PLACE, message)
    return _NUMBER.sub(PLACE, message)
