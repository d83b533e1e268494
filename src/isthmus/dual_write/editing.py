"""Editing of table maps: a change is validated, saved as a version, and chosen while the table map is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from isthmus.apps.change import Operation
from isthmus.apps.message import Row
from isthmus.apps.port import App
from isthmus.apps.principal import Principal
from isthmus.dual_write.activity import ActivityLog, Entry, Kind
from isthmus.dual_write.map_state import MapStates
from isthmus.dual_write.shipped_versions import RUNTIME_TABLE, registration, registration_id
from isthmus.dual_write.validation import Validation, refuse_faults, validate
from isthmus.dual_write.version_number import version_numbers
from isthmus.dual_write.versions import Versions, current_table_maps, write_rows
from isthmus.errors import Conflict, Rejected
from isthmus.metadata.check import Fault
from isthmus.metadata.table_map import TableMap

PUBLISHER = "Custom"
"""The publisher of versions whose author names none."""

_TEAM = "select true from dataverse.team where teamid = $1"


class Editing:
    """Makes and changes the table maps of one environment. `dataverse` is its Dataverse half."""

    def __init__(self, dataverse: App, versions: Versions, states: MapStates, activity: ActivityLog) -> None:
        self._app = dataverse
        self._activity = activity
        self._catalog = dataverse.catalog
        self._versions = versions
        self._states = states

    async def validate(self, table_map: TableMap) -> Validation:
        """As `validate`, and what depends on this environment: the owning team, and the other table maps."""
        found = validate(table_map, self._catalog)
        return msgspec.structs.replace(found, faults=(*found.faults, *await self._misfits(table_map)))

    async def validate_new(self, table_map: TableMap) -> Validation:
        """The same for a table map that is to be made. Raises what `create` raises, without making it."""
        await self._check_new(table_map)
        return await self.validate(table_map)

    async def save(
        self,
        table_map: TableMap,
        principal: Principal,
        *,
        version: str | None = None,
        publisher: str = PUBLISHER,
        choose: bool = True,
    ) -> UUID:
        """Save a definition of a table map that is there as a new version, and have the table map run in it.

        `version` is the next free number unless given. Rejected: `table_map_invalid` with the faults in its details,
        `table_map_not_stopped` (not asked when it is not to be chosen), `version_number`. Conflict: `version_exists`.
        """
        await self._versions.current(table_map.name)
        if choose:
            await self._check_stopped([table_map.name])
        return await self._keep(table_map, principal, version, publisher, choose=choose)

    async def create(self, table_map: TableMap, principal: Principal, *, publisher: str = PUBLISHER) -> UUID:
        """Make a new table map over any entity and table; it is not running yet.

        Conflict (`table_map_exists`) when the name is taken, or another table map has the same entity and table.
        """
        await self._check_new(table_map)
        version_id = await self._keep(table_map, principal, table_map.version, publisher, choose=True)
        row = Row(values=registration(table_map, self._catalog))
        await write_rows(self._app, Operation.CREATE, RUNTIME_TABLE, [row], principal)
        await self._record("table_map_created", table_map.name, "The table map was made.", principal)
        return version_id

    async def delete(self, table_map: str, principal: Principal) -> None:
        """Remove a table map that was made in this environment, with all its versions.

        Rejected: `table_map_shipped` for one that came with a solution, `table_map_not_stopped`.
        """
        versions = await self._versions.history(table_map)
        if any(version.is_shipped for version in versions):
            raise Rejected(
                f"Table map '{table_map}' came with its solution and can't be deleted; stop it instead.",
                code="table_map_shipped",
                table_map=table_map,
            )
        await self._check_stopped([table_map])
        await self._states.forget(table_map)
        await self._versions.delete([version.id for version in versions], principal)
        row = Row(id=registration_id(table_map))
        await write_rows(self._app, Operation.DELETE, RUNTIME_TABLE, [row], principal)
        await self._record(
            "table_map_deleted", table_map, "The table map was deleted, with all its versions.", principal
        )

    async def _record(self, kind: Kind, table_map: str, message: str, principal: Principal) -> None:
        entry = Entry(kind=kind, table_map=table_map, message=message, principal=principal.object_id)
        await self._activity.record(entry)

    async def set_integration_key(
        self, table: str, key: Sequence[str], principal: Principal, *, publisher: str = PUBLISHER
    ) -> dict[str, UUID]:
        """Give all table maps of a Dataverse table another integration key: a key belongs to the table.

        Each gets a new version, which is chosen; their ids by table map. Rejected as `save` is, before any is saved.
        """
        known = await current_table_maps(self._app.pool, self._catalog)
        concerned = [
            msgspec.structs.replace(await self._versions.current(name), integration_key=tuple(key))
            for name, each in known.items()
            if each.table == self._catalog.table(table).logical_name
        ]
        await self._check_stopped([table_map.name for table_map in concerned])
        for table_map in concerned:
            refuse_faults(table_map, validate(table_map, self._catalog).faults)
        return {each.name: await self._keep_valid(each, principal, None, publisher, choose=True) for each in concerned}

    async def _keep(
        self, table_map: TableMap, principal: Principal, version: str | None, publisher: str, *, choose: bool
    ) -> UUID:
        refuse_faults(table_map, (await self.validate(table_map)).faults)
        return await self._keep_valid(table_map, principal, version, publisher, choose=choose)

    async def _keep_valid(
        self, table_map: TableMap, principal: Principal, version: str | None, publisher: str, *, choose: bool
    ) -> UUID:
        number = version or await self._versions.next_number(table_map.name)
        saved = msgspec.structs.replace(table_map, version=number, publisher=publisher, file="")
        version_id = await self._versions.save(saved, principal)
        if choose:
            await self._versions.choose(table_map.name, version_id, by=principal.object_id)
        return version_id

    async def _check_new(self, table_map: TableMap) -> None:
        version_numbers(table_map.version)
        known = await current_table_maps(self._app.pool, self._catalog)
        for other in known.values():
            if other.name.lower() == table_map.name.lower() or _ends(other) == _ends(table_map):
                raise Conflict(
                    f"Table map '{other.name}' joins {other.entity} and {other.table} already. Edit it.",
                    code="table_map_exists",
                    table_map=other.name,
                )

    async def _check_stopped(self, names: Sequence[str]) -> None:
        for name, found in (await self._states.read(names)).items():
            if found.state != "not_running":
                raise Rejected(
                    f"Table map '{name}' is {found.state.replace('_', ' ')}; it must be stopped before its definition "
                    "changes. Stop it, or save the version without choosing it.",
                    code="table_map_not_stopped",
                    table_map=name,
                )

    async def _misfits(self, table_map: TableMap) -> list[Fault]:
        """Faults that depend on the other table maps and on the rows of this environment."""
        faults = []
        known = await current_table_maps(self._app.pool, self._catalog)
        for other in known.values():
            if other.table == table_map.table and other.name != table_map.name:
                if set(other.integration_key) != set(table_map.integration_key):
                    message = (
                        f"is not the integration key of {table_map.table}; change it for all its table maps at once."
                    )
                    field = ", ".join(table_map.integration_key)
                    faults.append(Fault(file="", code="integration_key_of_table", field=field, message=message))
                break
        if table_map.owning_team and (fault := await self._team_fault(table_map)):
            faults.append(fault)
        return faults

    async def _team_fault(self, table_map: TableMap) -> Fault | None:
        table = self._catalog.tables.get(table_map.table)
        if table is None:
            return None
        if table.company_column is not None or "ownerid" not in table.column:
            message = f"can't own rows of {table.logical_name}: they belong to the team of their company, or to nobody."
        elif await self._is_team(table_map.owning_team):
            return None
        else:
            message = "is not the id of a team."
        return Fault(file="", code="owning_team_unclear", field=table_map.owning_team, message=message)

    async def _is_team(self, text: str) -> bool:
        try:
            team = UUID(text)
        except ValueError:
            return False
        return bool(await self._app.pool.fetch(_TEAM, team))


def _ends(table_map: TableMap) -> tuple[str, str]:
    return table_map.entity.lower(), table_map.table.lower()
