"""Rows of the Dataverse table msdyn_dualwriteentitymap, one for each saved version of a table map."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid5

import asyncpg
import msgspec

from isthmus.dual_write.mapping_document import table_map_of_row
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap

TABLE = "msdyn_dualwriteentitymap"

NAMESPACE = UUID("5a7d6c1e-3a3f-4f0e-9f3b-8f6f0c6a2b11")
_COLUMNS = """
    v.msdyn_dualwriteentitymapid as id, v.msdyn_name as name, v.msdyn_version as version, v.msdyn_mapping as mapping,
    v.msdyn_properties as properties, coalesce(v.ismanaged, false) as is_shipped, v.createdon as saved_at,
    u.fullname as saved_by
"""
_FROM = "dataverse.msdyn_dualwriteentitymap v left join dataverse.systemuser u on u.systemuserid = v.createdby"
ALL = f"select {_COLUMNS} from {_FROM}"  # noqa: S608  (constants)
OF_MAP = f"select {_COLUMNS} from {_FROM} where lower(v.msdyn_name) = lower($1)"  # noqa: S608  (constants)
BY_ID = f"select {_COLUMNS} from {_FROM} where v.msdyn_dualwriteentitymapid = any($1::uuid[])"  # noqa: S608  (constants)
"""Rows with what the functions below read."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One saved version of a table map. `id` is that of its row; `is_shipped`: it came with a solution."""

    id: UUID
    table_map: str
    publisher: str
    version: str
    is_shipped: bool
    is_chosen: bool
    saved_at: datetime
    saved_by: str | None


def shipped_id(table_map: TableMap) -> UUID:
    """The id of the row of a version that a solution ships: the same in every environment."""
    return uuid5(NAMESPACE, f"{table_map.name}\x1f{table_map.publisher}\x1f{table_map.version}")


def version_of(row: asyncpg.Record, chosen: UUID | None) -> Version:
    """What a row says of its version; `chosen` is the id of the one that its table map runs in."""
    try:
        properties = msgspec.json.decode(row["properties"] or "{}")
        publisher = str(properties.get("publisher", "")) if isinstance(properties, dict) else ""
    except msgspec.DecodeError:
        publisher = ""
    return Version(
        id=row["id"],
        table_map=row["name"],
        publisher=publisher,
        version=row["version"] or "",
        is_shipped=row["is_shipped"],
        is_chosen=row["id"] == chosen,
        saved_at=row["saved_at"],
        saved_by=row["saved_by"],
    )


def definition_of(row: asyncpg.Record, catalog: Catalog) -> TableMap:
    """The table map that a row holds; Rejected (`version_unreadable`)."""
    return table_map_of_row(row["name"], row["version"], row["mapping"] or "", row["properties"], catalog)


def present(row: asyncpg.Record | None, table_map: str, version: str) -> asyncpg.Record:
    """The row of a chosen version; Rejected (`version_unreadable`) when it is gone."""
    if row is None:
        raise Rejected(
            f"Table map '{table_map}' runs in version {version}, whose row in {TABLE} is gone. Put it back.",
            code="version_unreadable",
            table_map=table_map,
        )
    return row
