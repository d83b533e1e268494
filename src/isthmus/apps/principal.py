"""Who is asking. Anonymous is a principal too, one that may do nothing; there is no principal of None."""

from __future__ import annotations

from typing import Literal

import msgspec

Half = Literal["dataverse", "finops"]


class Principal(msgspec.Struct, frozen=True):
    """The caller of a request, as the token said.

    `object_id` is the directory's id of the user or application (the `oid` claim); `audiences` are the halves the token
    is good for; `expires_at` is in seconds since 1970.
    """

    kind: Literal["user", "application", "anonymous"]
    object_id: str
    name: str
    audiences: frozenset[str]
    expires_at: float


ANONYMOUS = Principal("anonymous", "", "anonymous", frozenset(), 0.0)

DUAL_WRITE = Principal(
    "application",
    "2e49aa60-1bd3-43b6-8ab6-03ada3d9f08b",
    "dual-write",
    frozenset({"dataverse", "finops"}),
    float("inf"),
)
"""The application user in whose name live sync writes on the partner half (the published id of dual-write's own)."""
