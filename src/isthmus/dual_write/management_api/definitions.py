"""Definitions of table maps: versions of them, edits, new ones, integration keys, and whether they fit.

A definition is sent and shown in the shape of a definition file (docs/explanation/definitions.md): an object with
`entity`, `table`, `integration_key`, filters, and `rows` of `[F&O field, arrow, Dataverse path, transform]`.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from isthmus.dual_write.editing import PUBLISHER, Editing
from isthmus.dual_write.management_api.drafts import Document, Draft, Drafts
from isthmus.dual_write.management_api.endpoint import Caller, endpoint
from isthmus.dual_write.schema_drift import Drift, drift_of
from isthmus.dual_write.validation import Validation
from isthmus.dual_write.version_differences import VersionDifference, differences
from isthmus.dual_write.version_rows import Version
from isthmus.dual_write.versions import Versions
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.files import document_of, table_map_of


class DefinitionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The id of a version; without it the chosen one."""

    version_id: UUID | None = None


class DifferencesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of two versions; without `after` the chosen one."""

    before: UUID
    after: UUID | None = None


class NewVersion(Draft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version to be saved: under the next free number unless `version` names one, and chosen unless told not to."""

    version: str | None = None
    publisher: str = PUBLISHER
    choose: bool = True


class NewTableMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table map over any entity and table; its `definition` has a name."""

    definition: Document
    publisher: str = PUBLISHER


class IntegrationKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Columns, or paths of lookups, that identify a record of a Dataverse table on both halves."""

    key: list[str]


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """The version that was saved: the id of its row, and its number."""

    id: UUID
    table_map: str
    version: str


class DefinitionCalls:
    """Versions of table maps, edits, new table maps, and whether definitions fit both halves."""

    def __init__(self, catalog: Catalog, versions: Versions, editing: Editing) -> None:
        self._catalog = catalog
        self._versions = versions
        self._editing = editing
        self._drafts = Drafts(versions)

    @endpoint("GET", "/table-maps/{name}/versions")
    async def list_versions(self, name: str) -> list[Version]:
        """List the saved versions of a table map, the highest first."""
        return await self._versions.history(name)

    @endpoint("GET", "/table-maps/{name}/definition")
    async def show_definition(self, name: str, query: DefinitionQuery) -> Document:
        """Show the definition of a version, in the shape of a definition file."""
        return document_of(await self._drafts.version(name, query.version_id))

    @endpoint("GET", "/table-maps/{name}/version-differences")
    async def compare_versions(self, name: str, query: DifferencesQuery) -> list[VersionDifference]:
        """Compare two versions of a table map, field by field."""
        return differences(
            await self._drafts.version(name, query.before), await self._drafts.version(name, query.after)
        )

    @endpoint("POST", "/table-maps/{name}/versions", status=201)
    async def save_version(self, name: str, body: NewVersion, caller: Caller) -> Saved:
        """Save a changed table map as a new version, after holding it against both halves.

        Refused with all faults in `details.faults`; choosing it needs the table map stopped.
        """
        table_map = await self._drafts.drafted(name, body)
        saved = await self._editing.save(
            table_map, caller.principal, version=body.version, publisher=body.publisher, choose=body.choose
        )
        return await self._saved(name, saved)

    @endpoint("POST", "/table-maps/{name}/validate")
    async def validate_version(self, name: str, body: Draft) -> Validation:
        """Hold a changed table map, or the chosen version as it is, against both halves. Nothing is saved."""
        return await self._editing.validate(await self._drafts.drafted(name, body))

    @endpoint("GET", "/table-maps/{name}/drift")
    async def show_drift(self, name: str) -> list[Drift]:
        """Show in what the chosen version no longer fits the schemas of both halves, and what to do."""
        return drift_of(await self._versions.current(name), self._catalog)

    @endpoint("POST", "/table-maps/{name}/versions/{version_id}/choose")
    async def choose_version(self, name: str, version_id: UUID, caller: Caller) -> list[Version]:
        """Have a stopped table map run in this version from its next start."""
        await self._versions.choose(name, version_id, by=caller.principal.object_id)
        return await self._versions.history(name)

    @endpoint("POST", "/table-maps/{name}/roll-back")
    async def roll_back(self, name: str, caller: Caller) -> Version:
        """Choose the version below the chosen one."""
        return await self._versions.roll_back(name, by=caller.principal.object_id)

    @endpoint("DELETE", "/table-maps/{name}/versions/{version_id}")
    async def delete_version(self, name: str, version_id: UUID, caller: Caller) -> None:
        """Delete a version that is not chosen and did not come with a solution."""
        await self._drafts.version(name, version_id)
        await self._versions.delete([version_id], caller.principal)

    @endpoint("POST", "/table-maps", status=201)
    async def create_table_map(self, body: NewTableMap, caller: Caller) -> Saved:
        """Make a new table map; it does not run yet."""
        table_map = table_map_of(body.definition)
        saved = await self._editing.create(table_map, caller.principal, publisher=body.publisher)
        return await self._saved(table_map.name, saved)

    @endpoint("POST", "/validate")
    async def validate_table_map(self, body: NewTableMap) -> Validation:
        """Hold a new table map against both halves. Nothing is made."""
        return await self._editing.validate_new(table_map_of(body.definition))

    @endpoint("DELETE", "/table-maps/{name}")
    async def delete_table_map(self, name: str, caller: Caller) -> None:
        """Delete a stopped table map that was made in this environment, with all its versions."""
        await self._editing.delete(name, caller.principal)

    @endpoint("PUT", "/tables/{table}/integration-key")
    async def set_integration_key(self, table: str, body: IntegrationKey, caller: Caller) -> list[Saved]:
        """Give all table maps of a Dataverse table another integration key: each gets a new version."""
        saved = await self._editing.set_integration_key(table, body.key, caller.principal)
        return [await self._saved(name, version_id) for name, version_id in saved.items()]

    async def _saved(self, name: str, version_id: UUID) -> Saved:
        return Saved(id=version_id, table_map=name, version=(await self._versions.read(version_id)).version)
