"""What a health check finds: under a published code where there is one, with what it means here and what to do."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from isthmus.apps.principal import Half

Level = Literal["error", "warning", "info"]


HALVES_FIRST: dict[Half, str] = {"dataverse": "The Dataverse half", "finops": "The finance and operations half"}
"""What the halves are called at the beginning of a sentence."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding, about a table map or about the whole configuration.

    `error`: something does not flow that should, or the halves are not fit to work together. `warning`: it will bite.
    `info`: how the table map is built, for whoever looks for a change that does not flow. `message` is what was found,
    `advice` what to do about it (docs/reference/health_checks.md).
    """

    code: str
    level: Level
    message: str
    advice: str
    table_map: str | None = None
    half: Half | None = None
    details: dict[str, Any] = {}
