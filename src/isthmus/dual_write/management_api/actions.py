"""Run, pause, resume and stop, and what each would do before it is done."""

from __future__ import annotations

import msgspec

from isthmus.dual_write.catch_up_task import CatchUpParameters
from isthmus.dual_write.management_api.endpoint import Caller, endpoint
from isthmus.dual_write.operations import Operations, RunParameters, StopParameters
from isthmus.dual_write.requests import Request
from isthmus.dual_write.run_plan import PausePlan, RunPlan


class TableMapNames(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table maps by name."""

    table_maps: list[str]


class Run(RunParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table maps to bring live, with those that their lookups need unless `needed` is false.

    `master` is the half whose records are carried first and decide conflicts, `masters` names another one for single
    table maps; `conflicts`: `newest` lets the record decide that was changed last. `companies` restrict the initial
    sync to these legal entities. `skip_initial_sync`: nothing is copied; `skip`: nothing of these table maps.
    `run_with_errors`: refused records don't keep a table map from going live. `errors_only`: only refused records are
    copied; `refused` are the ids of some of them, by the half that refused them. Table maps that are to go live without
    having any are copied in full even so, like those named in `in_full`.
    """

    table_maps: list[str]
    needed: bool = True

    def parameters(self) -> RunParameters:
        """What the request keeps of it."""
        return msgspec.convert(self, RunParameters, from_attributes=True)


class Pause(TableMapNames, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Running table maps to pause; `dependents`: also the running ones that need them."""

    dependents: bool = False


class Resume(CatchUpParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paused table maps to bring live again.

    `live`: `after` all that waits is delivered; at once, and `keep` what waits, to be delivered meanwhile; at once, and
    `discard` what waits. `master` is the half whose value stands where both halves changed the same one.
    """

    table_maps: list[str]


class Stop(TableMapNames, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table maps to stop; `discard_queue`: changes that wait are given up, and stay listed as dismissed."""

    discard_queue: bool = False
    dependents: bool = False


class ActionCalls:
    """What is done with table maps. Each call answers with a request, which tells what becomes of it."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    @endpoint("POST", "/plan")
    async def plan_run(self, body: Run) -> RunPlan:
        """Plan a run: order, direction, rows on each side, what would be inserted, updated, skipped, in conflict.

        Takes the body of a run. Nothing is done; the numbers are exact for the moment they were counted at.
        """
        return await self._operations.plan(body.table_maps, body.parameters(), needed=body.needed)

    @endpoint("POST", "/plan-pause")
    async def plan_pause(self, body: TableMapNames) -> PausePlan:
        """Plan a pause or a stop: which running table maps depend on these."""
        return await self._operations.plan_pause(body.table_maps)

    @endpoint("POST", "/run", status=202)
    async def run(self, body: Run, caller: Caller) -> Request:
        """Bring table maps live: initial sync in the order of their dependencies, then live sync."""
        by = caller.principal.object_id
        return await self._operations.run(body.table_maps, body.parameters(), needed=body.needed, by=by)

    @endpoint("POST", "/pause", status=202)
    async def pause(self, body: Pause, caller: Caller) -> Request:
        """Pause table maps: their changes wait in a queue."""
        by = caller.principal.object_id
        return await self._operations.pause(body.table_maps, dependents=body.dependents, by=by)

    @endpoint("POST", "/resume", status=202)
    async def resume(self, body: Resume, caller: Caller) -> Request:
        """Resume table maps: deliver what waits, in the order it was made, and go live."""
        parameters = msgspec.convert(body, CatchUpParameters, from_attributes=True)
        return await self._operations.resume(body.table_maps, parameters, by=caller.principal.object_id)

    @endpoint("POST", "/stop", status=202)
    async def stop(self, body: Stop, caller: Caller) -> Request:
        """Stop table maps: changes are neither delivered nor kept."""
        parameters, by = StopParameters(discard_queue=body.discard_queue), caller.principal.object_id
        return await self._operations.stop(body.table_maps, parameters, dependents=body.dependents, by=by)
