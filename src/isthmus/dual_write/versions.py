"""Versions of table maps: every saved one is a row of the Dataverse table msdyn_dualwriteentitymap, one is chosen.

A version never changes. Which one a table map runs in stands in both halves next to its state; choosing another needs
the table map stopped. Without a choice it is the version that the solution ships.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from isthmus.apps.again import run_again
from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.apps.port import App
from isthmus.apps.principal import Principal
from isthmus.dual_write.activity import ActivityLog, Entry, Kind
from isthmus.dual_write.map_state import MapStates
from isthmus.dual_write.mapping_document import mapping_json, properties_json
from isthmus.dual_write.schema_drift import Drift, drift_of, without_broken_rows
from isthmus.dual_write.validation import refuse_faults, validate
from isthmus.dual_write.version_number import rank, version_numbers
from isthmus.dual_write.version_rows import (
    ALL,
    BY_ID,
    OF_MAP,
    TABLE,
    Version,
    definition_of,
    present,
    shipped_id,
    version_of,
)
from isthmus.errors import Conflict, NotFound, Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap
from isthmus.store.pool import Pool

_CHOSEN = "select table_map, version from isthmus.table_map_state where version is not null"
_STATE = "select version from isthmus.table_map_state where table_map = $1"
_LOCK = "select pg_advisory_xact_lock(hashtextextended('isthmus.table_map_version ' || lower($1), 0))"


async def current_table_maps(dataverse: Pool, catalog: Catalog) -> dict[str, TableMap]:
    """The table maps in the versions chosen: those of the catalog, and those that were made in this environment.

    A version that its schema no longer fits is given without the rows that are not there any more, or left out when
    nothing is left that could run. Rejected (`version_unreadable`) when the row of a chosen version is gone or spoilt.
    """
    return sound_table_maps(await chosen_table_maps(dataverse, catalog), catalog)


def sound_table_maps(chosen: Mapping[str, TableMap], catalog: Catalog) -> dict[str, TableMap]:
    """The table maps of the catalog and these, as far as they fit the schemas."""
    found = dict(catalog.table_maps)
    for name, table_map in chosen.items():
        sound = without_broken_rows(table_map, catalog)
        if sound is None:
            found.pop(name, None)
        else:
            found[name] = sound
    return found


async def chosen_table_maps(dataverse: Pool, catalog: Catalog) -> dict[str, TableMap]:
    """The table maps whose version is another one than their solution ships, as they were saved.

    Rejected (`version_unreadable`) when the row of such a version is gone or spoilt.
    """
    chosen = {row["table_map"]: row["version"] for row in await dataverse.fetch(_CHOSEN)}
    if not chosen:
        return {}
    rows = {str(row["id"]): row for row in await dataverse.fetch(BY_ID, list(chosen.values()))}
    return {name: definition_of(present(rows.get(version), name, version), catalog) for name, version in chosen.items()}


async def drifts_of_chosen(dataverse: Pool, catalog: Catalog) -> dict[str, list[Drift]]:
    """In what these versions no longer fit the catalog; table maps that fit are left out."""
    chosen = await chosen_table_maps(dataverse, catalog)
    return {name: drifts for name, table_map in chosen.items() if (drifts := drift_of(table_map, catalog))}


class Versions:
    """The versions of the table maps of one environment. `dataverse` is its Dataverse half."""

    def __init__(self, dataverse: App, states: MapStates, activity: ActivityLog) -> None:
        self._app = dataverse
        self._activity = activity
        self._catalog = dataverse.catalog
        self._states = states

    async def history(self, table_map: str) -> list[Version]:
        """All versions of a table map, the highest first. NotFound when there is no such table map."""
        rows = await self._app.pool.fetch(OF_MAP, table_map)
        if not rows:
            raise _no_such_map(table_map)
        chosen = await self.chosen(table_map)
        found = [version_of(row, chosen) for row in rows]
        return sorted(found, key=lambda each: (rank(each.version), each.saved_at), reverse=True)

    async def histories(self) -> dict[str, list[Version]]:
        """All versions of all table maps, by table map, the highest first."""
        rows = await self._app.pool.fetch(ALL)
        chosen = {row["table_map"]: UUID(row["version"]) for row in await self._app.pool.fetch(_CHOSEN)}
        shipped = {name: shipped_id(table_map) for name, table_map in self._catalog.table_maps.items()}
        found: dict[str, list[Version]] = {}
        for row in rows:
            name = row["name"]
            found.setdefault(name, []).append(version_of(row, chosen.get(name, shipped.get(name))))
        for versions in found.values():
            versions.sort(key=lambda each: (rank(each.version), each.saved_at), reverse=True)
        return found

    async def chosen(self, table_map: str) -> UUID | None:
        """The id of the version that a table map runs in; None for a new one of which none has been chosen."""
        rows = await self._app.pool.fetch(_STATE, table_map)
        if rows and rows[0]["version"] is not None:
            return UUID(rows[0]["version"])
        shipped = self._catalog.table_maps.get(table_map)
        return shipped_id(shipped) if shipped is not None else None

    async def read(self, version: UUID) -> TableMap:
        """The definition of one version. NotFound when there is none with this id."""
        rows = await self._app.pool.fetch(BY_ID, [version])
        if not rows:
            raise NotFound(f"There is no version {version} of a table map.", code="version_not_found", id=str(version))
        return definition_of(rows[0], self._catalog)

    async def current(self, table_map: str) -> TableMap:
        """The definition of the version chosen, as it was saved."""
        chosen = await self.chosen(table_map)
        if chosen is None:
            raise _no_such_map(table_map)
        shipped = self._catalog.table_maps.get(table_map)
        return shipped if shipped is not None and chosen == shipped_id(shipped) else await self.read(chosen)

    async def find(self, table_map: str, version: str, publisher: str | None = None) -> UUID:
        """The id of a version by its number, and its publisher where several have that number."""
        found = [
            each
            for each in await self.history(table_map)
            if each.version == version and (publisher is None or each.publisher == publisher)
        ]
        if len(found) == 1:
            return found[0].id
        if found:
            named = ", ".join(each.publisher for each in found)
            raise Rejected(
                f"Table map '{table_map}' has version {version} of several publishers ({named}); name one.",
                code="version_ambiguous",
                table_map=table_map,
            )
        raise NotFound(
            f"Table map '{table_map}' has no version {version}" + (f" of {publisher}." if publisher else "."),
            code="version_not_found",
            table_map=table_map,
        )

    async def next_number(self, table_map: str) -> str:
        """The number after the highest that a version of the table map has."""
        rows = await self._app.pool.fetch(OF_MAP, table_map)
        *head, last = max((rank(row["version"]) for row in rows), default=(1, 0, 0, -1))
        return ".".join(map(str, (*head, last + 1)))

    async def save(self, table_map: TableMap, principal: Principal) -> UUID:
        """Keep a definition as a new version; the id of its row. The caller has validated it.

        Conflict (`version_exists`) when this publisher has a version of that number already.
        """
        version_numbers(table_map.version)
        values = {
            "msdyn_name": table_map.name,
            "msdyn_displayname": table_map.name,
            "msdyn_version": table_map.version,
            "msdyn_mapping": mapping_json(table_map, self._catalog),
            "msdyn_properties": properties_json(table_map),
        }

        async def write() -> UUID:
            async with self._app.context(principal, correlation_id="") as context:
                await context.transaction.run(_LOCK, table_map.name)
                known = [version_of(row, None) for row in await context.transaction.rows(OF_MAP, table_map.name)]
                if (table_map.version, table_map.publisher) in {(each.version, each.publisher) for each in known}:
                    raise Conflict(
                        f"Version {table_map.version} of table map '{table_map.name}' by {table_map.publisher} is "
                        "there already; versions never change. Save it under another number.",
                        code="version_exists",
                        table_map=table_map.name,
                    )
                row = Row(values=dict(values))
                await self._app.execute(context, Message(operation=Operation.CREATE, table=TABLE, rows=[row]))
                await context.commit()
            assert isinstance(row.id, UUID), "the app gives every created row its id"
            return row.id

        id_ = await run_again(write)
        message = f"Version {table_map.version} by {table_map.publisher} was saved."
        await self._record("mapping_changed", table_map.name, message, id_, principal.object_id)
        return id_

    async def choose(self, table_map: str, version: UUID, *, by: str) -> None:
        """Have a stopped table map run in this version from its next start; all processes know at once.

        Rejected: `table_map_not_stopped`; `version_of_another_map`; `table_map_invalid` when it does not fit what is
        there now. NotFound when there is no such version.
        """
        rows = await self._app.pool.fetch(BY_ID, [version])
        if not rows or rows[0]["name"].lower() != table_map.lower():
            await self.read(version)
            raise Rejected(
                f"Version {version} is one of '{rows[0]['name']}', not of '{table_map}'.",
                code="version_of_another_map",
                table_map=table_map,
            )
        definition = definition_of(rows[0], self._catalog)
        refuse_faults(definition, validate(definition, self._catalog).faults)
        before = await self.chosen(table_map)
        await self._states.choose(table_map, self._kept(table_map, version), by=by)
        if not await self._app.pool.fetch(BY_ID, [version]):
            # Deleted while it was being chosen. From now on, chosen versions are protected.
            await self._states.choose(table_map, self._kept(table_map, before), by=by)
            await self.read(version)
        message = f"Version {definition.version} by {definition.publisher} was chosen."
        await self._record("version_chosen", table_map, message, version, by)

    async def _record(self, kind: Kind, table_map: str, message: str, version: UUID, by: str) -> None:
        details = {"version": str(version)}
        await self._activity.record(
            Entry(kind=kind, table_map=table_map, message=message, details=details, principal=by)
        )

    def _kept(self, table_map: str, version: UUID | None) -> str | None:
        """What stands next to the state: nothing for the version that the solution ships, whichever that is."""
        shipped = self._catalog.table_maps.get(table_map)
        is_default = version is None or (shipped is not None and version == shipped_id(shipped))
        return None if is_default else str(version)

    async def roll_back(self, table_map: str, *, by: str) -> Version:
        """Choose the version below the one chosen; which that is. Rejected (`version_not_found`) below the lowest."""
        versions = await self.history(table_map)
        place = next((number for number, each in enumerate(versions) if each.is_chosen), len(versions))
        if place + 1 >= len(versions):
            raise NotFound(
                f"Table map '{table_map}' runs in its lowest version; there is none to go back to.",
                code="version_not_found",
                table_map=table_map,
            )
        await self.choose(table_map, versions[place + 1].id, by=by)
        return msgspec.structs.replace(versions[place + 1], is_chosen=True)

    async def delete(self, versions: Sequence[UUID], principal: Principal) -> None:
        """Remove versions. Rejected while one of them is chosen, or came with a solution (see `protect_versions`)."""
        await write_rows(self._app, Operation.DELETE, TABLE, [Row(id=version) for version in versions], principal)


async def write_rows(app: App, operation: Operation, table: str, rows: Sequence[Row], principal: Principal) -> None:
    """Create or delete rows in a transaction of their own."""

    async def write() -> None:
        fresh = [Row(id=row.id, values=dict(row.values)) for row in rows]
        async with app.context(principal, correlation_id="") as context:
            await app.execute(context, Message(operation=operation, table=table, rows=fresh))
            await context.commit()

    await run_again(write)


def _no_such_map(table_map: str) -> NotFound:
    return NotFound(f"There is no table map '{table_map}'.", code="table_map_not_found", table_map=table_map)
