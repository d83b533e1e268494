"""What an administrator does with table maps: run, pause, resume, stop. Both management APIs come here.

Each is checked at once, against the states as they stand, and written down as a request, which whichever process takes
it carries out. Requests about the same table map are carried out in the order in which they were submitted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.catch_up_task import CatchUpParameters
from isthmus.dual_write.catch_up_watch import DELIVER
from isthmus.dual_write.companies import check_companies
from isthmus.dual_write.dependencies import check_known, enable_order
from isthmus.dual_write.fence import State
from isthmus.dual_write.initial_sync import InitialSyncParameters
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.map_state import MapStates
from isthmus.dual_write.refused_records import RefusedRecords
from isthmus.dual_write.requests import Request, Requests
from isthmus.dual_write.run_plan import PausePlan, RunPlan, RunPlanner, needed_maps, pause_plan
from isthmus.dual_write.validation import refuse_faults, validate
from isthmus.dual_write.versions import chosen_table_maps
from isthmus.errors import Conflict, Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.store.pool import Pool

Action = Literal["run", "pause", "resume", "stop"]

FROM: Mapping[Action, frozenset[State]] = {
    "run": frozenset({"not_running"}),
    "pause": frozenset({"running"}),
    "resume": frozenset({"paused"}),
    "stop": frozenset({"running", "paused", "initializing"}),
}
"""States that an action begins in. Who is initializing without a request is stopped: nobody goes on with it."""

CurrentLegs = Callable[[], Awaitable[Legs]]
"""The legs of the table maps in their chosen versions, and the catalog with these."""


class RunParameters(msgspec.Struct, frozen=True, kw_only=True):
    """How table maps are brought live.

    `master` is the half whose records are carried first and decide conflicts, `masters` names another one for single
    table maps; `conflicts`: `newest` lets the record decide that was changed last. `companies` restrict the initial
    sync to these legal entities. `skip_initial_sync`: nothing is copied; `skip`: nothing of these table maps.
    `run_with_errors`: refused records don't keep a table map from running. `errors_only`: only refused records are
    copied, also those of table maps that run already, but all records of the table maps named in `in_full`; `refused`
    are the ids of some of them, by the half that refused them.
    """

    master: Half = "dataverse"
    masters: dict[str, Half] = {}
    conflicts: Literal["master", "newest"] = "master"
    companies: list[str] | None = None
    skip_initial_sync: bool = False
    skip: list[str] = []
    run_with_errors: bool = False
    errors_only: bool = False
    in_full: list[str] = []
    refused: dict[Half, list[int]] | None = None

    def skipped(self, names: Sequence[str]) -> list[str]:
        """Those of these table maps that go live as the halves stand."""
        return [name for name in names if self.skip_initial_sync or name in self.skip]

    def initial_sync(self, names: Sequence[str]) -> InitialSyncParameters:
        """What the initial sync of these table maps is to do."""
        refused = self.refused
        return InitialSyncParameters(
            table_maps=tuple(names),
            master=self.master,
            masters=self.masters,
            conflicts=self.conflicts,
            companies=None if self.companies is None else tuple(self.companies),
            errors_only=self.errors_only,
            in_full=tuple(self.in_full),
            refused=None if refused is None else {half: tuple(ids) for half, ids in refused.items()},
        )


class PauseParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Why table maps are paused."""

    reason: str = "manual"


class StopParameters(msgspec.Struct, frozen=True, kw_only=True):
    """`discard_queue`: changes that wait are given up; they stay listed as dismissed."""

    discard_queue: bool = False


class Operations:
    """Checks what is asked and submits it. `current` gives the table maps in their chosen versions."""

    def __init__(self, pools: Mapping[Half, Pool], current: CurrentLegs, states: MapStates, requests: Requests) -> None:
        self._pools = pools
        self._refused = RefusedRecords({half: pool.origin for half, pool in pools.items()})
        self._current = current
        self._states = states
        self._requests = requests

    async def run(self, names: Sequence[str], parameters: RunParameters, *, needed: bool, by: str) -> Request:
        """Bring table maps live, with an initial sync unless that is skipped; `needed` adds those that their lookups
        lead to and that are not running. Raises what `submit` raises."""
        catalog, states = await self._known(names)
        await check_companies(self._pools, parameters.companies)
        if needed:
            names = needed_maps(names, states, catalog)
        parameters = await self._completed(names, states, parameters)
        return await self._submit("run", names, parameters, by)

    async def _completed(
        self, names: Sequence[str], states: Mapping[str, State], parameters: RunParameters
    ) -> RunParameters:
        """The parameters of a run of refused records alone: what is to go live and has none is copied in full."""
        if not parameters.errors_only or parameters.skip_initial_sync:
            return parameters
        refused = await self._refused.counts(names)
        stopped = {name for name in names if states.get(name, "not_running") == "not_running"}
        in_full = stopped.difference(refused, parameters.skip).union(parameters.in_full)
        return msgspec.structs.replace(parameters, in_full=sorted(in_full))

    async def pause(self, names: Sequence[str], *, dependents: bool, by: str) -> Request:
        """Let the changes of running table maps wait in a queue; `dependents` adds the running maps that need them."""
        return await self._submit("pause", await self._with_dependents(names, dependents), PauseParameters(), by)

    async def stop(self, names: Sequence[str], parameters: StopParameters, *, dependents: bool, by: str) -> Request:
        """Take table maps out of live sync; `dependents` adds the running maps that need them."""
        return await self._submit("stop", await self._with_dependents(names, dependents), parameters, by)

    async def resume(self, names: Sequence[str], parameters: CatchUpParameters, *, by: str) -> Request:
        """Bring paused table maps live again."""
        return await self._submit("resume", names, parameters, by)

    async def reset(self, *, by: str) -> Request:
        """Stop all table maps, give up what waits in their queues, and let them run in the versions that were shipped.

        Conflict (`table_map_busy`) while a request about one of them has not ended.
        """
        catalog, _ = await self._known(())
        await self._check_free(catalog.table_maps)
        names = _ordered(catalog.table_maps, catalog)
        return await self._requests.get(await self._requests.submit("reset", names, {}, by))

    async def prepare(self, names: Sequence[str], *, by: str) -> Request:
        """A request that changes nothing: every table map is ready to run as soon as it is there."""
        catalog, _ = await self._known(names)
        return await self._requests.get(await self._requests.submit("init", _ordered(names, catalog), {}, by))

    async def plan(self, names: Sequence[str], parameters: RunParameters, *, needed: bool) -> RunPlan:
        """What such a run would do; nothing is done."""
        catalog, states = await self._known(names)
        await check_companies(self._pools, parameters.companies)
        chosen = needed_maps(names, states, catalog) if needed else names
        parameters = await self._completed(chosen, states, parameters)
        planner = RunPlanner(self._pools, await self._current())
        return await planner.plan(
            names,
            states,
            master=parameters.master,
            masters=parameters.masters,
            newest=parameters.conflicts == "newest",
            companies=parameters.companies,
            skip=parameters.skipped(chosen),
            errors_only={*chosen}.difference(parameters.in_full) if parameters.errors_only else (),
            related=needed,
        )

    async def plan_pause(self, names: Sequence[str]) -> PausePlan:
        """The running table maps that depend on these."""
        catalog, states = await self._known(names)
        return pause_plan(names, states, catalog)

    async def states(self) -> dict[str, State]:
        """The states of all table maps that ever had one."""
        return {name: found.state for name, found in (await self._states.known())[0].items()}

    async def _with_dependents(self, names: Sequence[str], wanted: bool) -> list[str]:
        offered = (await self.plan_pause(names)).dependents if wanted else ()
        return [*names, *(dependent.table_map for dependent in offered)]

    async def _submit(self, action: Action, names: Sequence[str], parameters: msgspec.Struct, by: str) -> Request:
        """Write the request down, parents first.

        NotFound (`table_map_not_found`); Rejected (`table_map_transition`) when a table map is in no state that the
        action begins in, `table_map_invalid` when one that is to go live no longer fits the schemas; Conflict
        (`table_map_busy`) when another request about one of them has not ended.
        """
        if not names:
            raise Rejected("No table map was named: name at least one.", code="table_map_missing", field="table_maps")
        if action in ("run", "resume"):
            await self._check_fit(names)
        catalog, states = await self._known(names)
        for name in names:
            state = states.get(name, "not_running")
            if not (state == "running" and isinstance(parameters, RunParameters) and parameters.errors_only):
                _check_state(action, name, state)
        await self._check_free(names)
        known = _ordered(names, catalog)
        return await self._requests.get(await self._requests.submit(action, known, msgspec.to_builtins(parameters), by))

    async def _known(self, names: Iterable[str]) -> tuple[Catalog, dict[str, State]]:
        catalog = (await self._current()).catalog
        check_known(names, catalog)
        return catalog, await self.states()

    async def _check_fit(self, names: Sequence[str]) -> None:
        """Shipped definitions have been checked; a schema may have changed since another one was chosen."""
        catalog = (await self._current()).catalog
        for name, table_map in (await chosen_table_maps(self._pools["dataverse"], catalog)).items():
            if name in names:
                refuse_faults(table_map, validate(table_map, catalog).faults)

    async def _check_free(self, names: Iterable[str]) -> None:
        for request in await self._requests.newest(states=("waiting", "running"), limit=1000):
            for name in sorted({*names} & {*request.table_maps}) if request.action != DELIVER else ():
                raise Conflict(
                    f"Table map '{name}' is busy: request {request.id} ({request.action}) has not ended. Wait for it, "
                    "or cancel it.",
                    code="table_map_busy",
                    table_map=name,
                    request=str(request.id),
                )


def _check_state(action: Action, name: str, state: State) -> None:
    if state not in FROM[action]:
        possible = [other for other, states in FROM.items() if state in states]
        raise Rejected(
            f"Table map '{name}' is {_words(state)}, so it can't {action}. "
            + (f"It can {' or '.join(possible)}." if possible else "Wait until that has ended, or cancel its request."),
            code="table_map_transition",
            table_map=name,
            state=state,
        )


def _ordered(names: Iterable[str], catalog: Catalog) -> list[str]:
    order = enable_order(catalog)
    return sorted({*names}, key=lambda name: order[name])


def _words(state: State) -> str:
    return state.replace("_", " ")
