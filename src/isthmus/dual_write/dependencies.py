"""Dependencies between table maps: a map depends on the maps of the tables that its lookups lead to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from isthmus.errors import NotFound
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.map_path import COMPANY_TABLE, resolve_path
from isthmus.metadata.table_map import TableMap


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A lookup of a table map: the column it begins at, the path that follows it, and the table it reaches.

    `hop` counts from 1: a path of two lookups reaches two tables. The implied company has no path of its own.
    """

    column: str
    path: str
    hop: int
    table: str


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """An edge of the graph: `table_map` looks rows up that `needs` brings, through `column`."""

    table_map: str
    needs: str
    column: str
    path: str
    hop: int
    table: str


class SelfReference(msgspec.Struct, frozen=True, kw_only=True):
    """A lookup from a table to itself: `field` of F&O (None for a constant) names another record of the same map."""

    table_map: str
    column: str
    path: str
    field: str | None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A table map in the graph; `order` is its place among all maps, parents first; `cycle` its cycle's number."""

    table_map: str
    table: str
    entity: str
    state: str
    order: int
    cycle: int | None


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """All table maps and what they depend on. `cycles` are the maps that need each other, in enable order."""

    nodes: tuple[Node, ...]
    edges: tuple[Dependency, ...]
    cycles: tuple[tuple[str, ...], ...]
    self_references: tuple[SelfReference, ...]


def references(table_map: TableMap, catalog: Catalog) -> tuple[Reference, ...]:
    """The lookups of a map's rows, its own table's among them, then the company of a company-specific one."""
    table = catalog.table(table_map.table)
    found: dict[Reference, None] = {}
    for row in table_map.rows:
        if not row.dataverse or not ("." in row.dataverse or "(" in row.dataverse):
            continue
        path = resolve_path(row.dataverse, table, catalog)
        reached = [(hop, target) for hop, (_, target) in enumerate(path.hops, 1)]
        for hop, target in [*reached, *((1, target) for target, _ in path.alternatives)]:
            name = target.logical_name
            found[Reference(column=path.head.name, path=row.dataverse, hop=hop, table=name)] = None
    if table.company_column:
        column = table.company_column
        found[Reference(column=column, path=column, hop=1, table=COMPANY_TABLE)] = None
    return tuple(found)


def lookup_tables(table_map: TableMap, catalog: Catalog) -> tuple[str, ...]:
    """Tables that the map's rows look rows up in, its own among them when it refers to itself."""
    return tuple(dict.fromkeys(reference.table for reference in references(table_map, catalog)))


def edges(catalog: Catalog) -> tuple[Dependency, ...]:
    """Every way in which a map depends on another."""
    return tuple(
        Dependency(
            table_map=table_map.name,
            needs=other.name,
            column=reference.column,
            path=reference.path,
            hop=reference.hop,
            table=reference.table,
        )
        for table_map in catalog.table_maps.values()
        for reference in references(table_map, catalog)
        for other in catalog.maps_of_table.get(reference.table, ())
        if other.name != table_map.name
    )


def dependencies(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """For each table map the other maps it depends on."""
    found: dict[str, dict[str, None]] = {name: {} for name in catalog.table_maps}
    for edge in edges(catalog):
        found[edge.table_map][edge.needs] = None
    return {name: tuple(needs) for name, needs in found.items()}


def dependents(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """For each table map the other maps that depend on it."""
    found: dict[str, dict[str, None]] = {name: {} for name in catalog.table_maps}
    for edge in edges(catalog):
        found[edge.needs][edge.table_map] = None
    return {name: tuple(needed) for name, needed in found.items()}


def self_references(catalog: Catalog) -> tuple[SelfReference, ...]:
    """Lookups by which records of a map name other records of the same map, such as a customer's invoice account."""
    found = []
    for table_map in catalog.table_maps.values():
        fields = {row.dataverse: row.finops for row in table_map.rows if row.dataverse}
        for reference in references(table_map, catalog):
            if reference.table == table_map.table and reference.path in fields:
                field = fields[reference.path]
                found.append(
                    SelfReference(table_map=table_map.name, column=reference.column, path=reference.path, field=field)
                )
    return tuple(found)


def enable_order(catalog: Catalog) -> dict[str, int]:
    """Position of each map in an order that has parents first; a cycle is cut where it is entered, by map name."""
    needs = dependencies(catalog)
    position: dict[str, int] = {}
    for start in sorted(needs):
        stack: list[tuple[str, int]] = [(start, 0)]
        entered = {start}
        while stack:
            name, next_child = stack.pop()
            if name in position:
                continue
            children = needs[name]
            if next_child < len(children):
                stack.append((name, next_child + 1))
                child = children[next_child]
                if child not in position and child not in entered:
                    entered.add(child)
                    stack.append((child, 0))
                continue
            position[name] = len(position)
    return position


def reach(start: Iterable[str], step: Mapping[str, Collection[str]]) -> set[str]:
    """All maps that `step` leads to from these, over any number of steps; those of `start` only by way of others."""
    found: set[str] = set()
    waiting = [following for name in start for following in step[name]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(step[name])
    return found


def cycles(catalog: Catalog) -> tuple[tuple[str, ...], ...]:
    """Groups of maps that need each other: no order has all of their lookups' rows first."""
    needs, order = dependencies(catalog), enable_order(catalog)
    reached = {name: reach([name], needs) for name in needs}
    groups: dict[frozenset[str], None] = {}
    for name in sorted(needs, key=lambda name: order[name]):
        if name in reached[name]:
            groups[frozenset(other for other in reached[name] if name in reached[other])] = None
    return tuple(tuple(sorted(group, key=lambda name: order[name])) for group in groups)


def graph(catalog: Catalog, states: Mapping[str, str]) -> Graph:
    """The whole graph; `states` are by map name, one that is missing counts as not running."""
    order, rings = enable_order(catalog), cycles(catalog)
    ring_of = {name: number for number, ring in enumerate(rings) for name in ring}
    nodes = (
        Node(
            table_map=name,
            table=catalog.table_maps[name].table,
            entity=catalog.table_maps[name].entity,
            state=states.get(name, "not_running"),
            order=order[name],
            cycle=ring_of.get(name),
        )
        for name in sorted(order, key=lambda name: order[name])
    )
    return Graph(nodes=tuple(nodes), edges=edges(catalog), cycles=rings, self_references=self_references(catalog))


def prerequisite_sequences(names: Iterable[str], catalog: Catalog) -> list[list[str]]:
    """For each of these maps the sequence that enables it: all that it needs, in order, itself last.

    NotFound (table_map_not_found) names a map that does not exist.
    """
    needs, order = dependencies(catalog), enable_order(catalog)
    sequences = []
    for name in names:
        check_known([name], catalog)
        before = sorted(reach([name], needs) - {name}, key=lambda needed: order[needed])
        sequences.append([*before, name])
    return sequences


def check_known(names: Iterable[str], catalog: Catalog) -> None:
    """NotFound (table_map_not_found) when one of these names is no table map's."""
    for name in names:
        if name not in catalog.table_maps:
            raise NotFound(
                f"There is no table map '{name}'. Table maps are named '<entity set> - <entity label>'.",
                code="table_map_not_found",
                table_map=name,
            )
