"""Drafts: definitions of table maps that are not saved, given whole or as edits of a version."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from isthmus.dual_write.edits import Edit, edited, redefined
from isthmus.dual_write.versions import Versions
from isthmus.errors import Rejected
from isthmus.metadata.table_map import TableMap

Document = dict[str, Any]


class Draft(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A changed table map: a whole `definition`, or `edits` of the version `based_on` (without it, the chosen one)."""

    definition: Document | None = None
    edits: list[Edit] = []
    based_on: UUID | None = None


class Drafts:
    """Makes definitions of what callers send."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    async def version(self, name: str, version_id: UUID | None) -> TableMap:
        """The definition of a version of a table map, without an id of the chosen one. NotFound, Rejected."""
        if version_id is None:
            return await self._versions.current(name)
        found = await self._versions.read(version_id)
        if found.name != name:
            raise Rejected(
                f"Version {version_id} is one of '{found.name}', not of '{name}'.",
                code="version_of_another_map",
                table_map=name,
            )
        return found

    async def drafted(self, name: str, draft: Draft) -> TableMap:
        """The definition that a draft means. Raises what `version` raises, and Rejected for what can't be read."""
        base = await self.version(name, draft.based_on)
        if draft.definition is None:
            return edited(base, draft.edits)
        if draft.edits:
            raise Rejected("Give a definition or edits, not both.", code="payload_property", field="edits")
        return redefined(base, draft.definition)
