"""Table maps as administrators see them: state, version, counts, what they need, and what was last asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.dependencies import (
    Graph,
    check_known,
    dependencies,
    dependents,
    enable_order,
    graph,
    prerequisite_sequences,
)
from isthmus.dual_write.fence import State
from isthmus.dual_write.management_api.endpoint import endpoint
from isthmus.dual_write.map_state import MapStates
from isthmus.dual_write.operations import CurrentLegs
from isthmus.dual_write.queue import Queue, QueueCount
from isthmus.dual_write.requests import Request, Requests, RequestState
from isthmus.dual_write.state_rows import TableMapState
from isthmus.metadata.table_map import TableMap

Direction = Literal["both", "to_dataverse", "to_finops", "none"]


class LastRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What was last asked of a table map, by whom (an object id), and what became of it.

    A run of several table maps ends in error when records of some were refused: it is completed for the others.
    """

    id: UUID
    action: str
    state: RequestState
    message: str | None
    requested_by: str
    requested_at: datetime
    ended_at: datetime | None


class TableMapSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A table map in the list.

    `reason` says why it is paused; `waiting` and `failed` count its changes in the queues of both halves;
    `pauses_itself`: it pauses while a half is away, where others refuse the save; `direction` is where its field
    mappings lead. `halves_away` don't answer: what waits there is not counted.
    """

    name: str
    entity: str
    table: str
    solution: str
    direction: Direction
    fields: int
    version: str
    publisher: str
    state: State
    reason: str | None
    since: datetime | None
    changed_by: str | None
    pauses_itself: bool
    waiting: int
    failed: int
    halves_away: list[Half]
    last_request: LastRequest | None


class TableMapDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A table map with its definition, its place in the order that has parents first, and the maps around it."""

    summary: TableMapSummary
    order: int
    needs: list[str]
    needed_by: list[str]
    definition: TableMap


class PausesItself(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a table map pauses while a half is away, instead of refusing saves."""

    pauses_itself: bool


class TableMapCalls:
    """Table maps: their states, versions, dependencies."""

    def __init__(self, current: CurrentLegs, states: MapStates, queue: Queue, requests: Requests) -> None:
        self._current = current
        self._states = states
        self._queue = queue
        self._requests = requests

    @endpoint("GET", "/table-maps")
    async def list_table_maps(self) -> list[TableMapSummary]:
        """List all table maps with their states, parents first."""
        return await self.summaries()

    @endpoint("GET", "/table-maps/{name}")
    async def show_table_map(self, name: str) -> TableMapDetail:
        """Show a table map with its definition and the table maps around it."""
        catalog = (await self._current()).catalog
        check_known([name], catalog)
        (summary,) = await self.summaries([name])
        return TableMapDetail(
            summary=summary,
            order=enable_order(catalog)[name],
            needs=list(dependencies(catalog)[name]),
            needed_by=list(dependents(catalog)[name]),
            definition=catalog.table_maps[name],
        )

    @endpoint("PUT", "/table-maps/{name}/pauses-itself")
    async def set_pauses_itself(self, name: str, body: PausesItself) -> TableMapSummary:
        """Say whether a table map pauses itself while a half is away."""
        check_known([name], (await self._current()).catalog)
        await self._states.set_pauses_itself([name], body.pauses_itself)
        (summary,) = await self.summaries([name])
        return summary

    @endpoint("GET", "/graph")
    async def show_graph(self) -> Graph:
        """Show what depends on what: table maps in enable order, lookups between them, cycles, self-references."""
        states, _ = await self._states.known()
        return graph((await self._current()).catalog, {name: found.state for name, found in states.items()})

    @endpoint("GET", "/table-maps/{name}/prerequisites")
    async def show_prerequisites(self, name: str) -> list[str]:
        """Show what a table map needs, directly or not, in the order that enables it, itself last."""
        return prerequisite_sequences([name], (await self._current()).catalog)[0]

    async def summaries(self, names: list[str] | None = None) -> list[TableMapSummary]:
        """These table maps, or all, as the list shows them. Unavailable when both halves are away."""
        catalog = (await self._current()).catalog
        states, away = await self._states.known(names)
        counts = [*(await self._queue.counts(names, away=away)).values()]
        last = await self._requests.last_of_each(names)
        order = enable_order(catalog)
        return [
            _summary(catalog.table_maps[name], states.get(name), counts, away, last.get(name))
            for name in sorted(names or catalog.table_maps, key=lambda name: order[name])
        ]


def _summary(
    table_map: TableMap,
    state: TableMapState | None,
    counts: Sequence[Mapping[str, QueueCount]],
    away: list[Half],
    last: Request | None,
) -> TableMapSummary:
    state = state or TableMapState(table_map=table_map.name)
    queued = [of_half[table_map.name] for of_half in counts if table_map.name in of_half]
    return TableMapSummary(
        name=table_map.name,
        entity=table_map.entity,
        table=table_map.table,
        solution=table_map.solution,
        direction=direction_of(table_map),
        fields=len(table_map.rows),
        version=table_map.version,
        publisher=table_map.publisher,
        state=state.state,
        reason=state.reason,
        since=state.since,
        changed_by=state.changed_by,
        pauses_itself=state.pauses_itself,
        waiting=sum(count.waiting for count in queued),
        failed=sum(count.failed for count in queued),
        halves_away=away,
        last_request=None if last is None else _last(last, table_map.name),
    )


def direction_of(table_map: TableMap) -> Direction:
    """Where the field mappings of a table map lead."""
    to_dataverse = any(row.to_dataverse for row in table_map.rows)
    to_finops = any(row.to_finops for row in table_map.rows)
    if to_dataverse and to_finops:
        return "both"
    return "to_dataverse" if to_dataverse else "to_finops" if to_finops else "none"


def _last(request: Request, table_map: str) -> LastRequest:
    refused = {part.table_map for part in request.progress if part.refused}
    went_fine = request.code == "initial_sync_refused" and table_map not in refused
    return LastRequest(
        id=request.id,
        action=request.action,
        state="completed" if went_fine else request.state,
        message=None if went_fine else request.message,
        requested_by=request.requested_by,
        requested_at=request.requested_at,
        ended_at=request.ended_at,
    )
