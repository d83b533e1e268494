"""The table maps as they stand on the Dataverse half, remembered in the control database for when that half is away.

Saves of F&O need the definitions of the versions chosen, which are rows of Dataverse: a process that starts while that
is away takes those of the last generation that any process has read.
"""

from __future__ import annotations

import asyncpg
import msgspec

from isthmus.dual_write.state_rows import read_generation
from isthmus.dual_write.versions import chosen_table_maps, sound_table_maps
from isthmus.errors import Unavailable
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap
from isthmus.observe import log
from isthmus.store.pool import Pool, fetch
from isthmus.store.transaction import DRIVER_ERRORS

_READ = "select value from isthmus.setting where name = 'table_maps'"
_WRITE = """
insert into isthmus.setting (name, value) values ('table_maps', $1)
on conflict (name) do update set value = excluded.value
"""


class _Remembered(msgspec.Struct, frozen=True):
    """The table maps that ran in other versions than those shipped, in this generation or a later one."""

    generation: int = 0
    chosen: dict[str, TableMap] = {}


class KnownTableMaps:
    """What one process knows of the table maps; `catalog` has those that are shipped."""

    def __init__(self, dataverse: Pool, control: asyncpg.Pool, catalog: Catalog) -> None:
        self._dataverse = dataverse
        self._control = control
        self._catalog = catalog
        self._told = 0

    async def generation(self) -> int:
        """The generation that stands, or the one remembered while Dataverse is away."""
        try:
            found = await read_generation(self._dataverse)
        except Unavailable:
            found = (await self._remembered()).generation
        self._told = max(self._told, found)
        return found

    async def table_maps(self) -> dict[str, TableMap]:
        """The table maps in the versions chosen, of the generation told of last or a later one.

        Unavailable while Dataverse is away and none so new is remembered.
        """
        try:
            generation = await read_generation(self._dataverse)
            chosen = await chosen_table_maps(self._dataverse, self._catalog)
        except Unavailable:
            remembered = await self._remembered()
            if remembered.generation < self._told:
                raise
            chosen = remembered.chosen
        else:
            await self._remember(_Remembered(generation, chosen))
        return sound_table_maps(chosen, self._catalog)

    async def _remembered(self) -> _Remembered:
        found = await fetch(self._control, _READ)
        return msgspec.json.decode(found[0]["value"], type=_Remembered) if found else _Remembered()

    async def _remember(self, found: _Remembered) -> None:
        try:
            await self._control.execute(_WRITE, msgspec.json.encode(found).decode())
        except DRIVER_ERRORS as error:
            log.warning("table_maps_not_remembered", error=str(error))
