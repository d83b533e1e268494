"""Solutions of an environment, and the versions of maps that they brought."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid5

import msgspec

from isthmus.dual_write.management_api.endpoint import Caller, endpoint
from isthmus.dual_write.management_calls.project import Projects
from isthmus.dual_write.management_calls.shapes import ACTIONS, REQUEST_STATES
from isthmus.dual_write.requests import Requests
from isthmus.dual_write.versions import Versions
from isthmus.errors import NotFound, Rejected

BASE = "/api/DualWriteManagement/1.0/SolutionAware"


class WireSolution(msgspec.Struct, frozen=True, kw_only=True):
    """A solution that brought maps."""

    description: str
    friendlyname: str
    ismanaged: bool
    solutionid: UUID
    id: UUID
    uniquename: str
    version: str


class Criteria(msgspec.Struct, frozen=True, kw_only=True):
    """A solution by its name."""

    uniquename: str


class SolutionWanted(msgspec.Struct, frozen=True, kw_only=True):
    """A solution whose maps are wanted."""

    criteria: Criteria


class RestoreBody(msgspec.Struct, frozen=True, kw_only=True):
    """Solutions whose maps are wanted; `action` is 2."""

    action: str | int = "2"
    solutions: list[SolutionWanted]


class Restoring(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The request that tells what becomes of it."""

    request_id: UUID


class RestoreResult(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended."""

    message: str
    status: str


class RestoreStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A request about solutions: `state` 1 is waiting, 2 completed, 3 error."""

    request_id: UUID
    action: str
    created_on: datetime
    modified_on: datetime
    state: str
    result: RestoreResult
    root_activity_id: UUID


class SwitchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The project of the map; it follows from the version when it is not given."""

    pid: UUID | None = None


class SolutionCalls:
    """Solutions and versions of a connection set."""

    def __init__(self, projects: Projects, versions: Versions, requests: Requests) -> None:
        self._projects = projects
        self._versions = versions
        self._requests = requests

    @endpoint("GET", BASE + "/{cid}/Solutions")
    async def list_solutions(self, cid: str) -> list[WireSolution]:
        """List the solutions that brought maps."""
        self._projects.check_connection_set(cid)
        catalog = await self._projects.catalog()
        with_maps = {table_map.solution for table_map in catalog.table_maps.values()}
        found = []
        for solution in catalog.solutions.values():
            for name in (solution.packages or (solution.name,)) if solution.name in with_maps else ():
                id_ = uuid5(self._projects.id, name)
                found.append(
                    WireSolution(
                        description=solution.friendly_name,
                        friendlyname=solution.friendly_name,
                        ismanaged=True,
                        solutionid=id_,
                        id=id_,
                        uniquename=name,
                        version=solution.version,
                    )
                )
        return found

    @endpoint("POST", BASE + "/{cid}/RestoreTemplates")
    async def restore_templates(self, cid: str, body: RestoreBody, caller: Caller) -> Restoring:
        """Bring the maps of solutions into the environment. They stand there: shipped versions are never lost."""
        if str(body.action) != ACTIONS["restore_templates"]:
            raise Rejected(f"The action is '{body.action}': it can only be 2.", code="action_unknown", field="action")
        known = {solution.uniquename.lower() for solution in await self.list_solutions(cid)}
        for wanted in body.solutions:
            if wanted.criteria.uniquename.lower() not in known:
                raise NotFound(
                    f"There is no solution '{wanted.criteria.uniquename}': ask Solutions for those there are.",
                    code="solution_not_found",
                )
        parameters = {"solutions": [wanted.criteria.uniquename for wanted in body.solutions]}
        by = caller.principal.object_id
        return Restoring(request_id=await self._requests.submit("restore_templates", [], parameters, by))

    @endpoint("GET", BASE + "/{cid}/Status/{request_id}")
    async def show_restore_status(self, cid: str, request_id: UUID) -> RestoreStatus:
        """Show what became of such a request."""
        self._projects.check_connection_set(cid)
        request = await self._requests.get(request_id)
        return RestoreStatus(
            request_id=request.id,
            action=ACTIONS.get(request.action, request.action),
            created_on=request.requested_at,
            modified_on=request.ended_at or request.requested_at,
            state=REQUEST_STATES[request.state],
            result=RestoreResult(message=request.message or "", status=request.state),
            root_activity_id=request.id,
        )

    @endpoint("POST", BASE + "/{cid}/SwitchActive/{template_id}")
    async def switch_active(self, cid: str, template_id: UUID, query: SwitchQuery, caller: Caller) -> None:
        """Have a stopped map run in another version. The body, the id of the version once more, is not read."""
        self._projects.check_connection_set(cid)
        name = await self._projects.named(query.pid, template_id)
        await self._versions.choose(name, template_id, by=caller.principal.object_id)
