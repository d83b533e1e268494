"""All legs of the running table maps, found by what changed."""

from __future__ import annotations

from isthmus.apps.principal import Half
from isthmus.dual_write.dependencies import enable_order
from isthmus.dual_write.leg import Leg
from isthmus.dual_write.leg_to_dataverse import compile_to_dataverse
from isthmus.dual_write.leg_to_finops import compile_to_finops
from isthmus.finops.data_sources import Compiled
from isthmus.metadata.catalog import Catalog


class Legs:
    """The compiled legs of one version of the catalog, those of maps that others look rows up in first."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        order = enable_order(catalog)
        sources = Compiled(catalog)
        self.all: dict[Half, list[Leg]] = {"dataverse": [], "finops": []}
        self.by_table: dict[Half, dict[str, list[Leg]]] = {"dataverse": {}, "finops": {}}
        self.by_map: dict[tuple[str, Half], Leg] = {}
        for table_map in sorted(catalog.table_maps.values(), key=lambda m: order[m.name]):
            if any(row.to_dataverse and row.finops for row in table_map.rows):
                self._add(compile_to_dataverse(table_map, catalog, sources[table_map.entity]))
            if any(row.to_finops and row.dataverse for row in table_map.rows):
                self._add(compile_to_finops(table_map, catalog, sources[table_map.entity]))

    def _add(self, leg: Leg) -> None:
        self.all[leg.source].append(leg)
        self.by_map[leg.name, leg.source] = leg
        for table in {**leg.triggers, **leg.shown_by}:
            self.by_table[leg.source].setdefault(table, []).append(leg)

    def of_table(self, half: Half, table: str) -> list[Leg]:
        """Legs out of `half` that a change of `table` may concern."""
        return self.by_table[half].get(table, [])
