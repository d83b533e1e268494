"""An environment with one legal entity and its customers, for tests in which F&O gives them their numbers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.support.customer_groups import Site
from tests.support.writing import create, update

from isthmus.dual_write.requests import Request

CUSTOMERS = "accounts - Customers V3"
PARTIES = "msdyn_parties - CDS Parties"
VENDORS = "msdyn_vendors - Vendors V2"

ACCOUNTS = """
select a.accountnumber as number, a.name, a.description as memo, p.msdyn_partynumber as party, b.accountnumber as payer
from dataverse.account a left join dataverse.msdyn_party p on p.msdyn_partyid = a.msdyn_partyid
left join dataverse.account b on b.accountid = a.msdyn_billingaccount where a.name like $1 order by a.name
"""
RECORDS = """
select customeraccount as number, organizationname as name, salesmemo as memo, partynumber as party,
       nullif(invoiceaccount, '') as payer
from finops.custcustomerv3entity where organizationname like $1 or organizationname = '' order by organizationname
"""


class Customers(Site):
    """A site with accounts whose customers get their number from F&O."""

    values: dict[str, Any]

    async def prepare(self) -> None:
        await create(self.finops, "CurrencyEntity", {"currencycode": "USD", "name": "US dollar", "symbol": "$"})
        await create(self.finops, "OMLegalEntity", {"legalentityid": "USMF", "name": "Contoso"})
        await self.group("10")
        fetch = self.dataverse.pool.origin.fetchval
        self.values = {
            "customertypecode": 3,
            "msdyn_company": await fetch("select cdm_companyid from dataverse.cdm_company"),
            "msdyn_customergroupid": await fetch("select msdyn_customergroupid from dataverse.msdyn_customergroup"),
            "transactioncurrencyid": await fetch("select transactioncurrencyid from dataverse.transactioncurrency"),
        }

    async def account(self, name: str, **values: Any) -> UUID:
        (id_,) = await create(
            self.dataverse, "account", {"name": name, "description": "first", **self.values, **values}
        )
        return UUID(str(id_))

    async def change(self, id_: UUID, **values: Any) -> None:
        await update(self.dataverse, "account", {id_: values})

    async def stop(self, *table_maps: str) -> None:
        await self.dual_write.states.change(table_maps, "not_running", by="tester")

    async def run(self, *table_maps: str, **parameters: Any) -> Request:
        """Run initial sync, then the table maps."""
        return await self.ended(await self.dual_write.requests.submit("run", table_maps, parameters, "tester"))

    async def both(self, names: str) -> list[dict[str, Any]]:
        """The records with names like this, once they are the same on both halves; of F&O also those without one."""
        found = [dict(row) for row in await self.dataverse.pool.origin.fetch(ACCOUNTS, names)]
        assert [dict(row) for row in await self.finops.pool.origin.fetch(RECORDS, names)] == found
        return found
