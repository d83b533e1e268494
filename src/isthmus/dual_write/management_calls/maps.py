"""Maps: list, field mappings, start and what becomes of it, prerequisites, refresh, initial sync details."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.catch_up_task import CatchUpParameters
from isthmus.dual_write.dependencies import prerequisite_sequences
from isthmus.dual_write.management_api.endpoint import Caller, endpoint
from isthmus.dual_write.management_calls.project import Projects
from isthmus.dual_write.management_calls.shapes import (
    Document,
    WireMap,
    action_of,
    wire_map,
)
from isthmus.dual_write.operations import Operations, RunParameters, StopParameters
from isthmus.dual_write.requests import Request, Requests
from isthmus.errors import Rejected

BASE = "/api/DualWriteManagement/1.0"
SHOWN_REQUESTS = 1000
REQUESTS_OF_A_MAP = 10


class EntitiesQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The half that is listed from, which is always F&O (`AX`), and the connection set."""

    target_type: str = "AX"
    cid: UUID | None = None


class ConflictResolution(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who wins where both halves have a record: `CRM` or `AX`."""

    option: str = "1"
    master: str = "CRM"


class SkipCatchUp(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Go live at once, and keep what waits, or not."""

    skip_catch_up_sync_preserve_data: bool = False


class ActionParameters(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Those of a start, and those of a resume."""

    skip_initial_sync: bool = False
    conflict_resolution: ConflictResolution = ConflictResolution()
    dual_write_skip_catch_up_sync_parameters: SkipCatchUp | None = None


class ActionDetail(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One map of an action, by the id of its project or of its version."""

    tid: UUID | None = None
    pid: UUID | None = None
    cid: UUID | None = None
    parameters: ActionParameters | None = None


class ActionBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is to be done with which maps."""

    action: str | int
    details: list[ActionDetail]


class Submitted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The request that tells what becomes of it."""

    request_id: UUID


class MapCalls:
    """Maps of a connection set."""

    def __init__(self, projects: Projects, operations: Operations, requests: Requests) -> None:
        self._projects = projects
        self._operations = operations
        self._requests = requests

    @endpoint("GET", f"{BASE}/Entities")
    async def list_maps(self, query: EntitiesQuery) -> list[WireMap]:
        """List all maps."""
        if query.cid is not None:
            self._projects.check_connection_set(str(query.cid))
        return await self._maps(None)

    @endpoint("GET", BASE + "/{pid}/FieldMappings")
    async def show_field_mappings(self, pid: UUID, caller: Caller) -> Document:
        """Show the field mappings of a map, in the version it runs in."""
        return await self._projects.field_mappings(await self._projects.table_map(pid), caller.base)

    @endpoint("POST", f"{BASE}/Start")
    async def start(self, body: ActionBody, caller: Caller) -> Submitted:
        """Start, stop, pause, resume or prepare maps."""
        names = {await self._projects.named(detail.pid, detail.tid): detail for detail in body.details}
        by = caller.principal.object_id
        match action_of(body.action):
            case "run":
                request = await self._operations.run([*names], _run_parameters(names), needed=False, by=by)
            case "stop":
                request = await self._operations.stop([*names], StopParameters(), dependents=False, by=by)
            case "pause":
                request = await self._operations.pause([*names], dependents=False, by=by)
            case "resume":
                request = await self._operations.resume([*names], _catch_up_parameters(names.values()), by=by)
            case "init":
                request = await self._operations.prepare([*names], by=by)
        return Submitted(request_id=request.id)

    @endpoint("GET", BASE + "/Status/{request_id}")
    async def show_status(self, request_id: UUID) -> list[WireMap]:
        """Show the maps of a request, with the request among `lastRequests`."""
        request = await self._requests.get(request_id)
        return await self._maps([*request.table_maps], request)

    @endpoint("POST", BASE + "/GetTemplatePrerequisiteSequences/{cid}")
    async def list_prerequisites(self, cid: str, body: list[UUID]) -> list[list[UUID]]:
        """List, for each version, the versions of all maps that its lookups need, in the order that enables them."""
        self._projects.check_connection_set(cid)
        catalog = await self._projects.catalog()
        names = [await self._projects.named(None, tid) for tid in body]
        chosen = {name: shown.detail.tid for name, shown in (await self._by_name(None)).items()}
        given = dict(zip(names, body, strict=True))
        return [
            [given.get(name, chosen[name]) for name in sequence] for sequence in prerequisite_sequences(names, catalog)
        ]

    @endpoint("POST", "/api/Project/{name}/Refresh")
    async def refresh_tables(self, name: str, caller: Caller) -> Document:
        """Read both schemas again and hold the map against them; what does not fit stands in `validationIssues`."""
        return await self._projects.field_mappings(await self._projects.table_map_of_project(name), caller.base)

    @endpoint("GET", "/api/ProjectExecutionWithCompanies/{pid}")
    async def show_initial_sync(self, pid: UUID) -> Document:
        """Show the last initial sync of a map, by company and leg, with the first refused records."""
        return await self._projects.initial_sync(await self._projects.table_map(pid))

    async def _maps(self, names: Sequence[str] | None, request: Request | None = None) -> list[WireMap]:
        return [*(await self._by_name(names, request)).values()]

    async def _by_name(self, names: Sequence[str] | None, request: Request | None = None) -> dict[str, WireMap]:
        catalog = await self._projects.catalog()
        states, versions = await self._operations.states(), await self._projects.versions()
        asked: dict[str, list[Request]] = {}
        for known in await self._requests.newest(limit=SHOWN_REQUESTS):
            for name in known.table_maps:
                asked.setdefault(name, []).append(known)
        found = {}
        for name in names or catalog.table_maps:
            newest = asked.get(name, [])[:REQUESTS_OF_A_MAP]
            if request is not None and request.id not in {known.id for known in newest}:
                newest.append(request)
            state = states.get(name, "not_running")
            found[name] = wire_map(catalog.table_maps[name], catalog, state, versions[name], newest)
        return found


def _run_parameters(details: dict[str, ActionDetail]) -> RunParameters:
    given = {name: detail.parameters or ActionParameters() for name, detail in details.items()}
    return RunParameters(
        masters={name: _half(parameters.conflict_resolution.master) for name, parameters in given.items()},
        skip=[name for name, parameters in given.items() if parameters.skip_initial_sync],
    )


def _half(master: str) -> Half:
    halves: dict[str, Half] = {"AX": "finops", "CRM": "dataverse"}
    if master.upper() not in halves:
        raise Rejected(f"The master is '{master}': it can be AX or CRM.", code="payload_property", field="master")
    return halves[master.upper()]


def _catch_up_parameters(details: Any) -> CatchUpParameters:
    chosen = {(detail.parameters or ActionParameters()).dual_write_skip_catch_up_sync_parameters for detail in details}
    if len(chosen) > 1:
        raise Rejected(
            "Maps that are resumed together must agree in dualWriteSkipCatchUpSyncParameters: resume them one by one.",
            code="payload_property",
            field="dualWriteSkipCatchUpSyncParameters",
        )
    (skip,) = chosen or {None}
    if skip is None:
        return CatchUpParameters()
    return CatchUpParameters(live="keep" if skip.skip_catch_up_sync_preserve_data else "discard")
