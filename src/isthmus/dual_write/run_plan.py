"""The plan of a run: which table maps would run, in which order and direction, and what would be written; and the plan
of a pause: which running maps need those that are to be paused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.dependencies import (
    Dependency,
    SelfReference,
    check_known,
    cycles,
    dependencies,
    dependents,
    edges,
    enable_order,
    reach,
    self_references,
)
from isthmus.dual_write.fence import State
from isthmus.dual_write.leg import PARTNER
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.run_counts import CompanyCounts, count_run, leading_half
from isthmus.finops.data_sources import Compiled
from isthmus.metadata.catalog import Catalog
from isthmus.store.pool import Pool


class PlannedMap(msgspec.Struct, frozen=True, kw_only=True):
    """A table map of the plan.

    `place` counts from 1. `master` is the half whose records go first. `needed_by` are the maps of the plan that look
    rows up in it; `added` says that it is in the plan for their sake alone. `sources` are the halves that records are
    read from, in this order. `skip`: it goes live as the halves stand. `errors_only`: of its records only those are
    copied that were refused before. `companies` count the halves as they stand: of two maps over one table, the second
    will find what the first has written by then.
    """

    table_map: str
    place: int
    state: State
    master: Half
    added: bool
    needed_by: tuple[str, ...]
    sources: tuple[Half, ...]
    skip: bool
    errors_only: bool
    companies: list[CompanyCounts]


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Table maps in the order in which they would run.

    `newest`: conflicts are decided by the record that was changed last, not by the map's master. `missing` are
    dependencies on maps that neither run nor are part of the plan. References within `cycles` and `self_references` are
    set after all rows stand.
    """

    newest: bool
    companies: list[str] | None
    table_maps: tuple[PlannedMap, ...]
    missing: tuple[Dependency, ...]
    cycles: tuple[tuple[str, ...], ...]
    self_references: tuple[SelfReference, ...]


class Dependent(msgspec.Struct, frozen=True, kw_only=True):
    """A running table map that needs one of those to be paused or stopped, through `because` or through others."""

    table_map: str
    state: State
    because: tuple[Dependency, ...]


class PausePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The table maps to be paused or stopped, and the running ones that depend on them: those furthest away first."""

    table_maps: tuple[str, ...]
    dependents: tuple[Dependent, ...]


def needed_maps(names: Collection[str], states: Mapping[str, State], catalog: Catalog) -> tuple[str, ...]:
    """These maps and all that their lookups lead to and that do not run, in enable order.

    NotFound (table_map_not_found).
    """
    check_known(names, catalog)
    order = enable_order(catalog)
    related = {name for name in reach(names, dependencies(catalog)) if _state(states, name) == "not_running"}
    return tuple(sorted(related.union(names), key=lambda name: order[name]))


def pause_plan(names: Collection[str], states: Mapping[str, State], catalog: Catalog) -> PausePlan:
    """What depends on these maps while it runs. NotFound (table_map_not_found)."""
    check_known(names, catalog)
    order, all_edges = enable_order(catalog), edges(catalog)
    offered = {name for name in reach(names, dependents(catalog)) if _state(states, name) == "running"} - set(names)
    concerned = offered.union(names)
    return PausePlan(
        table_maps=tuple(sorted(names, key=lambda name: -order[name])),
        dependents=tuple(
            Dependent(
                table_map=name,
                state=_state(states, name),
                because=tuple(edge for edge in all_edges if edge.table_map == name and edge.needs in concerned),
            )
            for name in sorted(offered, key=lambda name: -order[name])
        ),
    )


class RunPlanner:
    """Plans runs by the table maps as they are compiled in `legs`."""

    def __init__(self, pools: Mapping[Half, Pool], legs: Legs) -> None:
        self._pools = pools
        self._legs = legs
        self._catalog = legs.catalog

    async def plan(
        self,
        names: Collection[str],
        states: Mapping[str, State],
        *,
        master: Half = "dataverse",
        masters: Mapping[str, Half] | None = None,
        newest: bool = False,
        companies: Sequence[str] | None = None,
        skip: Collection[str] = (),
        errors_only: Collection[str] = (),
        related: bool = True,
    ) -> RunPlan:
        """What running these maps would do. `states` are by map; maps named in `skip` run without initial sync, those
        in `errors_only` copy what was refused before.

        `masters` names another master for single maps; `newest` lets the newest change decide conflicts. `related` adds
        the maps that their lookups need and that do not run. NotFound (table_map_not_found); Unavailable while a half
        is away.
        """
        check_known([*names, *skip], self._catalog)
        order = enable_order(self._catalog)
        chosen = needed_maps(names, states, self._catalog) if related else sorted(names, key=lambda name: order[name])
        needs = dependencies(self._catalog)
        planned = []
        for place, name in enumerate(chosen, 1):
            sources = self._sources(name, (masters or {}).get(name, master))
            counts = await self._count(name, sources[0], newest, companies, skip=name in skip or name in errors_only)
            planned.append(
                PlannedMap(
                    table_map=name,
                    place=place,
                    state=_state(states, name),
                    master=sources[0],
                    added=name not in names,
                    needed_by=tuple(other for other in chosen if name in needs[other]),
                    sources=() if name in skip else sources,
                    skip=name in skip,
                    errors_only=name in errors_only,
                    companies=counts,
                )
            )
        return RunPlan(
            newest=newest,
            companies=None if companies is None else list(companies),
            table_maps=tuple(planned),
            missing=tuple(self._missing(chosen, states)),
            cycles=tuple(cycle for cycle in cycles(self._catalog) if not set(chosen).isdisjoint(cycle)),
            self_references=tuple(ref for ref in self_references(self._catalog) if ref.table_map in chosen),
        )

    def _sources(self, name: str, master: Half) -> tuple[Half, ...]:
        sends: frozenset[Half] = frozenset(half for half in PARTNER if (name, half) in self._legs.by_map)
        first = leading_half(master, sends)
        return (first, PARTNER[first]) if PARTNER[first] in sends else (first,)

    async def _count(
        self, name: str, master: Half, newest: bool, companies: Sequence[str] | None, *, skip: bool
    ) -> list[CompanyCounts]:
        table_map = self._catalog.table_maps[name]
        sources = Compiled(self._catalog)[table_map.entity]
        return await count_run(
            self._pools,
            table_map,
            self._catalog,
            sources,
            master=master,
            newest=newest,
            companies=companies,
            skip=skip,
        )

    def _missing(self, chosen: Sequence[str], states: Mapping[str, State]) -> Iterable[Dependency]:
        there = {name for name in self._catalog.table_maps if _state(states, name) != "not_running"}.union(chosen)
        return (edge for edge in edges(self._catalog) if edge.table_map in chosen and edge.needs not in there)


def _state(states: Mapping[str, State], name: str) -> State:
    return states.get(name, "not_running")
