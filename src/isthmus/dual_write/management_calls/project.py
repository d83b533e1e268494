"""Projects: what the management calls name table maps and the environment by, and the documents about one map.

An environment has one connection set; its id follows from the link between the halves, the id of a project from the
name of the table map. Both are the same for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.initial_sync_part import Part, parts_of
from isthmus.dual_write.legs import CurrentLegs
from isthmus.dual_write.management_calls.field_mappings import field_mappings
from isthmus.dual_write.management_calls.shapes import REQUEST_STATES, Document, project_name
from isthmus.dual_write.refused_records import RefusedRecords, count_part
from isthmus.dual_write.requests import Request, Requests
from isthmus.dual_write.schema_drift import drift_of
from isthmus.dual_write.shipped_versions import registration_id
from isthmus.dual_write.version_rows import Version
from isthmus.dual_write.versions import Versions
from isthmus.errors import NotFound
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap
from isthmus.store.connections import Connections

_NAMESPACE = UUID("8a2f0c54-6f0e-4c36-9d57-2f5a1d0f6c11")

SHOWN_ERRORS = 100
"""Refused records that the details of an initial sync list, of each leg."""


class Projects:
    """The connection set of one environment, and its projects."""

    def __init__(
        self,
        link: str,
        pools: Mapping[Half, Connections],
        legs: CurrentLegs,
        versions: Versions,
        requests: Requests,
    ) -> None:
        self.name = f"isthmus-{link}"
        self.id = uuid5(_NAMESPACE, link)
        self._pools = pools
        self._legs = legs
        self._versions = versions
        self._requests = requests

    def check_connection_set(self, name_or_id: str) -> None:
        """NotFound when the environment's connection set has another name and id."""
        if name_or_id.lower() not in (self.name, str(self.id)):
            raise NotFound(
                f"There is no connection set '{name_or_id}': ask Environments for the one of this environment.",
                code="connection_set_not_found",
            )

    async def catalog(self) -> Catalog:
        """The catalog with the table maps in their chosen versions."""
        return (await self._legs.refresh()).catalog

    async def versions(self) -> dict[str, list[Version]]:
        """All versions by table map, the highest first."""
        return await self._versions.histories()

    async def named(self, pid: UUID | None, tid: UUID | None) -> str:
        """The table map that a project, or else a version, is of. NotFound."""
        if pid is not None:
            return (await self.table_map(pid)).name
        for name, versions in (await self.versions()).items():
            if any(version.id == tid for version in versions):
                return name
        raise NotFound(f"There is no version {tid} of a table map.", code="version_not_found", id=str(tid))

    async def table_map(self, pid: UUID) -> TableMap:
        """The table map of a project. NotFound."""
        for table_map in (await self.catalog()).table_maps.values():
            if registration_id(table_map.name) == pid:
                return table_map
        raise NotFound(f"There is no project {pid}: ask Entities for those there are.", code="project_not_found")

    async def table_map_of_project(self, name: str) -> TableMap:
        """The table map of a project by its name, or by that of the table map. NotFound."""
        for table_map in (await self.catalog()).table_maps.values():
            if name in (table_map.name, project_name(registration_id(table_map.name), self.id)):
                return table_map
        raise NotFound(f"There is no project '{name}': ask FieldMappings for its name.", code="project_not_found")

    async def field_mappings(self, table_map: TableMap, base: str) -> Document:
        """The whole definition of a map, both schemas, and in what it does not fit them."""
        catalog, connection_set = await self.catalog(), (self.name, self.id)
        versions = await self._versions.history(table_map.name)
        issues = drift_of(await self._versions.current(table_map.name), catalog)
        return field_mappings(table_map, catalog, connection_set, base, versions, issues)

    async def initial_sync(self, table_map: TableMap) -> Document:
        """The last initial sync of a map: one response a legal entity, one leg a direction."""
        name = table_map.name
        runs = [one for one in await self._requests.newest(table_map=name) if one.action == "run"]
        parts = [
            part
            for half in self._pools
            if runs
            for part in await parts_of(self._pools[half], runs[0].id)
            if part.table_map == name
        ]
        pid = registration_id(name)
        # A run that copied nothing, as it was told, has no parts and is a response of its own.
        companies = sorted({part.company for part in parts} or ({""} if runs else ()))
        return {
            "projectName": project_name(pid, self.id),
            "projectExecutionResponses": [
                await self._response(name, pid, runs[0], company, [part for part in parts if part.company == company])
                for company in companies
            ],
            "isDataManagementProject": False,
            "initialSyncRequestId": str(runs[0].id) if runs else None,
            "id": str(pid),
            "upsertCount": sum(part.inserted + part.updated for part in parts),
            "errorCount": sum((await RefusedRecords(self._pools).counts([name])).values()),
            "createdDateTime": _moment(runs[0].requested_at if runs else None),
        }

    async def _response(self, name: str, pid: UUID, request: Request, company: str, parts: list[Part]) -> Document:
        legs = [await self._leg(request, part) for part in parts]
        status = REQUEST_STATES[request.state]
        return {
            "responseId": str(request.id),
            "displayName": request.table_maps[0] if len(request.table_maps) == 1 else project_name(pid, self.id),
            "projectName": project_name(pid, self.id),
            "legalEntityName": company,
            "legalEntityId": company,
            "schedule": None,
            "submittedOn": _moment(request.requested_at),
            "executionStatus": status,
            "lastExecutionStatusChangeOn": _moment(request.ended_at or request.started_at),
            "taskExecutionStatuses": [
                {
                    "name": name,
                    "status": status,
                    "isRunning": request.is_open,
                    "legs": legs,
                }
            ],
            "isDataManagementProject": False,
            "dataManagementOperation": None,
            "initialSyncRequestId": str(request.id),
            "id": str(pid),
            "upsertCount": sum(part.inserted + part.updated for part in parts),
            "errorCount": sum(leg["importRecordsErrorCount"] for leg in legs),
            "owner": request.requested_by,
            "createdDateTime": _moment(request.requested_at),
        }

    async def _leg(self, request: Request, part: Part) -> Document:
        destination: Half = "dataverse" if part.source == "finops" else "finops"
        refused = await RefusedRecords(self._pools).list(
            destination, table_map=part.table_map, company=part.company or None, limit=SHOWN_ERRORS
        )
        errors: list[dict[str, Any]] = [
            {"recordId": one.record_id, "sourceField": ", ".join(one.columns), "errorMessage": one.message}
            for one in refused
        ]
        kept = await count_part(self._pools[destination], part.table_map, part.source, part.company)
        done = part.step == "done"
        return {
            "displayName": "AX to CRM" if part.source == "finops" else "CRM to AX",
            "status": "Completed" if done else "Running",
            "details": None,
            "exportStatus": "Completed",
            "exportDetails": None,
            "exportJob": None,
            "exportStarted": _moment(request.started_at),
            "exportFinished": None,
            "exportRecordCount": part.total,
            "exportRecordErrorCount": 0,
            "exportNewVersionToken": None,
            "exportRangeInfo": None,
            "exportErrors": [],
            "exportUri": None,
            "importStatus": "Completed" if done else "Running",
            "importDetails": None,
            "importJob": None,
            "importStarted": _moment(request.started_at),
            "importFinished": _moment(request.ended_at) if done else None,
            "importRecordsInsertedCount": part.inserted,
            "importRecordsUpdatedCount": part.updated,
            "importRecordsErrorCount": kept.records,
            "importErrors": errors,
            "importErrorUri": None,
        }


def _moment(instant: datetime | None) -> str | None:
    return None if instant is None else str(msgspec.to_builtins(instant))
