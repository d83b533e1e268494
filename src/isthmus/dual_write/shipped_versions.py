"""The table maps that solutions ship, as rows that tools read, and what keeps versions from being changed or lost.

Each shipped version, present and earlier, is a managed row of msdyn_dualwriteentitymap; each table map has its row in
msdyn_dualwriteruntimeconfig.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.apps.pipeline import Stage, Step
from isthmus.apps.port import App
from isthmus.clock import now
from isthmus.dataverse.behaviour.states import default_states
from isthmus.dataverse.rows import as_json, columns_of, insert_sql
from isthmus.dual_write.fence import enter
from isthmus.dual_write.mapping_document import mapping_json, properties_json
from isthmus.dual_write.version_rows import NAMESPACE, TABLE, shipped_id
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap

RUNTIME_TABLE = "msdyn_dualwriteruntimeconfig"

_FIXED = frozenset({"msdyn_name", "msdyn_version", "msdyn_mapping", "msdyn_properties"})
_SYSTEM_USER = "select systemuserid, businessunitid from dataverse.systemuser where fullname = 'SYSTEM'"
_KNOWN = (
    "select msdyn_dualwriteentitymapid as id, msdyn_mapping, msdyn_properties from dataverse.msdyn_dualwriteentitymap"
)
_REGISTERED = "select msdyn_dualwriteruntimeconfigid as id from dataverse.msdyn_dualwriteruntimeconfig"
_REWRITE = """
update dataverse.msdyn_dualwriteentitymap set msdyn_mapping = $2, msdyn_properties = $3, modifiedon = $4,
    versionnumber = nextval('isthmus.row_version')
where msdyn_dualwriteentitymapid = $1
"""
_OF_VERSIONS = """
select v.msdyn_name as name, coalesce(v.ismanaged, false) as is_shipped, s.table_map is not null as is_chosen
from dataverse.msdyn_dualwriteentitymap v
left join isthmus.table_map_state s on s.version = v.msdyn_dualwriteentitymapid::text
where v.msdyn_dualwriteentitymapid = any($1)
"""


async def seed_versions(connection: Any, catalog: Catalog) -> None:
    """Insert or bring up to date the rows of all that the solutions ship, in one transaction."""
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtextextended('isthmus.seed', 0))")
        known = {row["id"]: (row["msdyn_mapping"], row["msdyn_properties"]) for row in await connection.fetch(_KNOWN)}
        new = []
        for table_map in (*catalog.table_maps.values(), *catalog.earlier_table_maps):
            row_id, texts = shipped_id(table_map), (mapping_json(table_map, catalog), properties_json(table_map))
            if row_id not in known:
                new.append({"msdyn_dualwriteentitymapid": row_id, **_row(table_map, *texts)})
            elif known[row_id] != texts:
                await connection.execute(_REWRITE, row_id, *texts, now())
        await _insert(connection, catalog, TABLE, new)
        present = {row["id"] for row in await connection.fetch(_REGISTERED)}
        registrations = [registration(table_map, catalog) for table_map in catalog.table_maps.values()]
        await _insert(
            connection,
            catalog,
            RUNTIME_TABLE,
            [row for row in registrations if row[f"{RUNTIME_TABLE}id"] not in present],
        )


def register(dataverse: App) -> None:
    """Have versions stay as they were saved, and those that are chosen or shipped stay at all."""
    dataverse.pipeline.register(
        Step(stage=Stage.PRE_OPERATION, handler=_refuse_change, operation=Operation.UPDATE, table=TABLE, columns=_FIXED)
    )
    dataverse.pipeline.register(
        Step(stage=Stage.PRE_OPERATION, handler=_refuse_loss, operation=Operation.DELETE, table=TABLE)
    )


async def _refuse_change(context: Context, message: Message) -> None:
    raise Rejected("A saved version of a table map never changes. Save another version.", code="version_is_fixed")


async def _refuse_loss(context: Context, message: Message) -> None:
    """The fence of the table map is taken before, so that nobody chooses the version meanwhile."""
    ids = [row.id for row in message.rows]
    names = {row["name"] for row in await context.transaction.rows(_OF_VERSIONS, ids)}
    if names:
        await enter(context.transaction, names)
    for row in await context.transaction.rows(_OF_VERSIONS, ids):
        if row["is_chosen"] or row["is_shipped"]:
            why = "is the one chosen" if row["is_chosen"] else "came with its solution"
            advice = "Choose another first." if row["is_chosen"] else "It stays as long as the solution does."
            raise Rejected(
                f"This version of table map '{row['name']}' {why} and can't be deleted. {advice}",
                code="version_in_use",
                table_map=row["name"],
            )


def _row(table_map: TableMap, mapping: str, properties: str) -> dict[str, Any]:
    return {
        "msdyn_name": table_map.name,
        "msdyn_displayname": table_map.name,
        "msdyn_version": table_map.version,
        "msdyn_mapping": mapping,
        "msdyn_properties": properties,
        "ismanaged": True,
    }


def registration_id(table_map: str) -> UUID:
    """The id of the row of msdyn_dualwriteruntimeconfig of a table map: the same in every environment."""
    return uuid5(NAMESPACE, f"{RUNTIME_TABLE}\x1f{table_map}")


def registration(table_map: TableMap, catalog: Catalog) -> dict[str, Any]:
    """The row of msdyn_dualwriteruntimeconfig of a table map."""
    return {
        f"{RUNTIME_TABLE}id": registration_id(table_map.name),
        "msdyn_name": table_map.name,
        "msdyn_internalentityname": table_map.table,
        "msdyn_externalentityname": catalog.entity(table_map.entity).collection,
    }


async def _insert(connection: Any, catalog: Catalog, table_name: str, rows: list[dict[str, Any]]) -> None:
    """Rows as the system itself makes them: owned by the SYSTEM user."""
    if not rows:
        return
    table = catalog.table(table_name)
    user, unit = await connection.fetchrow(_SYSTEM_USER)
    instant = now().replace(microsecond=0)
    system: dict[str, UUID | Any] = {
        "createdon": instant,
        "modifiedon": instant,
        "createdby": user,
        "modifiedby": user,
        "ownerid": user,
        "owninguser": user,
        "owningbusinessunit": unit,
    }
    owner = table.column.get("ownerid")
    complete = []
    for values in rows:
        row = Row(values={**{name: value for name, value in system.items() if name in table.column}, **values})
        if owner is not None:
            row.values[owner.type_column] = "systemuser"
        default_states(table, row)
        complete.append(row.values)
    await connection.execute(insert_sql(table, columns_of(complete)), as_json(complete))
