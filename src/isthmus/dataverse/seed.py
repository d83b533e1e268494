"""What every Dataverse environment holds from its first day: an organization, its root business unit and default team,
the SYSTEM user, and a system user for everybody whom the local directory knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from isthmus.apps.message import Row
from isthmus.apps.principal import DUAL_WRITE, Principal
from isthmus.clock import now
from isthmus.dataverse.behaviour.business_units import OWNER_TEAM
from isthmus.dataverse.behaviour.states import default_states
from isthmus.dataverse.rows import as_json, columns_of, insert_sql
from isthmus.ids import new_row_id
from isthmus.metadata.catalog import Catalog

ORGANIZATION_NAME = "isthmus"
NON_INTERACTIVE = 4
READ_WRITE = 0
ENGLISH = 1033


async def seed(connection: Any, catalog: Catalog, principals: Iterable[Principal]) -> None:
    """Insert what is missing, in one transaction; dual-write's application user is always among the users."""
    async with connection.transaction():
        await connection.execute("set constraints all deferred")
        await connection.execute("select pg_advisory_xact_lock(hashtextextended('isthmus.seed', 0))")
        seeding = _Seeding(connection, catalog)
        await seeding.organization()
        for principal in {DUAL_WRITE.object_id: DUAL_WRITE, **{p.object_id: p for p in principals}}.values():
            await seeding.user(principal)


class _Seeding:
    def __init__(self, connection: Any, catalog: Catalog) -> None:
        self.connection = connection
        self.catalog = catalog
        self.unit = new_row_id()
        self.system = new_row_id()
        self.now = now().replace(microsecond=0)

    async def organization(self) -> None:
        """The organization with its root business unit, default team and SYSTEM user."""
        known = await self.connection.fetchrow(
            """select unit.businessunitid, (select systemuserid from dataverse.systemuser where fullname = 'SYSTEM')
               from dataverse.businessunit unit where unit.parentbusinessunitid is null"""
        )
        if known is not None:
            self.unit, self.system = known
            return
        organization = new_row_id()
        await self._insert("businessunit", self.unit, {"name": ORGANIZATION_NAME, "organizationid": organization})
        await self._insert(
            "organization", organization, {"name": ORGANIZATION_NAME, "languagecode": ENGLISH, "localeid": ENGLISH}
        )
        await self._insert(
            "systemuser",
            self.system,
            {**self._person("SYSTEM"), "lastname": "SYSTEM", "accessmode": NON_INTERACTIVE, "domainname": "SYSTEM"},
        )
        await self._insert(
            "team",
            new_row_id(),
            {
                "name": ORGANIZATION_NAME,
                "businessunitid": self.unit,
                "isdefault": True,
                "teamtype": OWNER_TEAM,
                "administratorid": self.system,
            },
        )

    async def user(self, principal: Principal) -> None:
        """The system user of a user or application of the directory."""
        object_id = UUID(principal.object_id)
        if await self.connection.fetchval(
            "select true from dataverse.systemuser where azureactivedirectoryobjectid = $1 or applicationid = $1",
            object_id,
        ):
            return
        values = {
            **self._person(principal.name),
            "azureactivedirectoryobjectid": object_id,
            "internalemailaddress": f"{principal.object_id}@{ORGANIZATION_NAME}.local",
            "domainname": f"{principal.object_id}@{ORGANIZATION_NAME}.local",
            "accessmode": READ_WRITE,
        }
        if principal.kind == "application":
            values |= {"applicationid": object_id, "accessmode": NON_INTERACTIVE, "firstname": "#"}
        await self._insert("systemuser", new_row_id(), values)

    def _person(self, name: str) -> dict[str, Any]:
        return {"fullname": name, "lastname": name, "businessunitid": self.unit, "isdisabled": False}

    async def _insert(self, table_name: str, row_id: UUID, values: dict[str, Any]) -> None:
        table = self.catalog.table(table_name)
        stamps = {"createdon": self.now, "modifiedon": self.now, "createdby": self.system, "modifiedby": self.system}
        known = {name: value for name, value in (stamps | values).items() if name in table.column}
        row = Row(id=row_id, values={**known, table.primary_id: row_id})
        default_states(table, row)
        await self.connection.execute(insert_sql(table, columns_of([row.values])), as_json([row.values]))
