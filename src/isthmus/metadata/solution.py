"""Solutions: named sets of definitions that are shipped, installed and versioned together."""

from __future__ import annotations

import msgspec


class Solution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One solution: the folder it lives in is `name`; `packages` are the names of the published solutions it covers."""

    name: str
    friendly_name: str
    version: str = "1.0.0.0"
    publisher: str = "Isthmus"
    depends_on: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
