"""Dependencies between table maps: a map depends on the maps of the tables that its lookups lead to."""

from __future__ import annotations

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.map_path import resolve_path
from isthmus.metadata.table_map import TableMap


def lookup_tables(table_map: TableMap, catalog: Catalog) -> tuple[str, ...]:
    """Tables that the map's rows look rows up in, its own among them when it refers to itself."""
    table = catalog.table(table_map.table)
    found: dict[str, None] = {}
    for row in table_map.rows:
        if row.dataverse and ("." in row.dataverse or "(" in row.dataverse):
            path = resolve_path(row.dataverse, table, catalog)
            for _, target in path.hops:
                found[target.logical_name] = None
            for target, _ in path.alternatives:
                found[target.logical_name] = None
    if table.company_column:
        found["cdm_company"] = None
    return tuple(found)


def dependencies(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """For each table map the other maps it depends on."""
    return {
        table_map.name: tuple(
            other.name
            for table in lookup_tables(table_map, catalog)
            for other in catalog.maps_of_table.get(table, ())
            if other.name != table_map.name
        )
        for table_map in catalog.table_maps.values()
    }


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
