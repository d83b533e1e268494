"""All legs of the table maps, found by what changed; and the holder that keeps them those of the present generation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.dependencies import enable_order
from isthmus.dual_write.leg import Leg
from isthmus.dual_write.leg_to_dataverse import compile_to_dataverse
from isthmus.dual_write.leg_to_finops import compile_to_finops
from isthmus.errors import Retriable
from isthmus.finops.data_sources import Compiled
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap

PATIENCE = 3.0
"""Seconds that a save waits for a generation of table maps to stand on the Dataverse half too."""

LoadTableMaps = Callable[[], Awaitable[Mapping[str, TableMap]]]
LoadGeneration = Callable[[], Awaitable[int]]


class Legs:
    """The compiled legs of one version of the catalog, those of maps that others look rows up in first.

    Those of table maps that are the same in `known` are taken from there.
    """

    def __init__(self, catalog: Catalog, known: Legs | None = None) -> None:
        self.catalog = catalog
        order = enable_order(catalog)
        sources = Compiled(catalog)
        self.all: dict[Half, list[Leg]] = {"dataverse": [], "finops": []}
        self.by_table: dict[Half, dict[str, list[Leg]]] = {"dataverse": {}, "finops": {}}
        self.by_map: dict[tuple[str, Half], Leg] = {}
        for table_map in sorted(catalog.table_maps.values(), key=lambda m: order[m.name]):
            if any(row.to_dataverse and row.finops for row in table_map.rows):
                leg = _known(known, table_map, "finops")
                self._add(leg or compile_to_dataverse(table_map, catalog, sources[table_map.entity]))
            if any(row.to_finops and row.dataverse for row in table_map.rows):
                leg = _known(known, table_map, "dataverse")
                self._add(leg or compile_to_finops(table_map, catalog, sources[table_map.entity]))

    def _add(self, leg: Leg) -> None:
        self.all[leg.source].append(leg)
        self.by_map[leg.name, leg.source] = leg
        for table in {**leg.triggers, **leg.shown_by}:
            self.by_table[leg.source].setdefault(table, []).append(leg)

    def of_table(self, half: Half, table: str) -> list[Leg]:
        """Legs out of `half` that a change of `table` may concern."""
        return self.by_table[half].get(table, [])


def _known(legs: Legs | None, table_map: TableMap, source: Half) -> Leg | None:
    leg = None if legs is None else legs.by_map.get((table_map.name, source))
    return leg if leg is not None and leg.table_map == table_map else None


class CurrentLegs:
    """The legs of the present generation of table maps. One a process; `now` may be a generation behind."""

    def __init__(self, now: Legs, generation: int, load: LoadTableMaps, load_generation: LoadGeneration) -> None:
        self.now = now
        self.generation = generation
        self._load = load
        self._load_generation = load_generation
        self._loading = asyncio.Lock()

    @classmethod
    async def open(cls, catalog: Catalog, load: LoadTableMaps, load_generation: LoadGeneration) -> Self:
        """Compile the table maps as they stand; `load` and `load_generation` read them, the generation first."""
        current = cls(Legs(catalog), 0, load, load_generation)
        await current.refresh()
        return current

    async def refresh(self) -> Legs:
        """The legs of the generation that stands now."""
        return await self.at(await self._load_generation())

    async def at(self, generation: int) -> Legs:
        """The legs of this generation or a later one. Retriable when it does not stand on the Dataverse half in time.

        The generation is read before the table maps are: what is loaded is never older than it says.
        """
        async with self._loading:
            end = asyncio.get_running_loop().time() + PATIENCE
            while self.generation < generation:
                found = await self._load_generation()
                if found > self.generation:
                    table_maps = dict(await self._load())
                    catalog = self.now.catalog
                    if table_maps != catalog.table_maps:
                        self.now = Legs(msgspec.structs.replace(catalog, table_maps=table_maps), self.now)
                    self.generation = found
                elif asyncio.get_running_loop().time() > end:
                    raise Retriable(
                        "The table maps have just changed and are not to be had yet. Nothing was saved; send the same "
                        "request again.",
                        code="table_map_changing",
                    )
                else:
                    await asyncio.sleep(0.01)
            return self.now
