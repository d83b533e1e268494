"""Accounts without a number, made while their table map was paused: F&O numbers them, and nothing loses its way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from tests.conftest import NewDatabase
from tests.support.customer_groups import Site
from tests.support.writing import create, delete, update

from isthmus.config import Settings
from isthmus.environments.environment import Environment

CUSTOMERS = "accounts - Customers V3"
PARTIES = "msdyn_parties - CDS Parties"

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

    async def both(self, names: str) -> list[dict[str, Any]]:
        """The records with names like this, once they are the same on both halves; of F&O also those without one."""
        found = [dict(row) for row in await self.dataverse.pool.origin.fetch(ACCOUNTS, names)]
        assert [dict(row) for row in await self.finops.pool.origin.fetch(RECORDS, names)] == found
        return found


@pytest.fixture(scope="module")
async def opened(templates: dict[str, str], new_database: NewDatabase) -> AsyncIterator[Customers]:
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    environment = await Environment.open(Settings(pool_size=8, **addresses))
    try:
        site = Customers(environment)
        await site.prepare()
        yield site
    finally:
        await environment.close()


@pytest.fixture
async def site(opened: Customers) -> Customers:
    await opened.start_over()
    return opened


BOTH_PAUSED = pytest.mark.parametrize("paused", [(CUSTOMERS,), (PARTIES, CUSTOMERS)], ids=["customers", "and parties"])


@BOTH_PAUSED
async def test_changes_behind_a_creation_find_its_customer(site: Customers, paused: tuple[str, ...]) -> None:
    name = f"Found {len(paused)}"
    await site.pause(*paused)
    id_ = await site.account(name)
    await site.change(id_, description="second")
    await site.change(id_, description="third")
    request = await site.resume(*paused, master="dataverse")
    assert (request.state, [part.refused for part in request.progress]) == ("completed", [0] * len(paused))
    (record,) = await site.both(name)
    assert record["number"] and record["party"]
    assert record["memo"] == "third"
    assert await site.queued("dataverse", status="failed", table_map=CUSTOMERS) == []


@BOTH_PAUSED
async def test_what_was_deleted_again_is_deleted_there_too(site: Customers, paused: tuple[str, ...]) -> None:
    name = f"Gone {len(paused)}"
    await site.pause(*paused)
    id_ = await site.account(name)
    await site.change(id_, description="second")
    await delete(site.dataverse, "account", id_)
    assert (await site.resume(*paused, master="dataverse")).state == "completed"
    assert await site.both(name) == []


async def test_live_at_once_and_delivered_afterwards(site: Customers) -> None:
    await site.pause(CUSTOMERS)
    id_ = await site.account("Kept")
    await site.change(id_, description="second")
    assert (await site.resume(CUSTOMERS, live="keep", master="dataverse")).state == "completed"
    (record,) = await site.both("Kept")
    assert record["memo"] == "second"


async def test_a_number_that_somebody_gives_meanwhile_is_the_number(site: Customers) -> None:
    """F&O does not let a customer's number be changed afterwards."""
    await site.pause(CUSTOMERS)
    id_ = await site.account("Numbered")
    await site.change(id_, description="second")
    await site.change(id_, accountnumber="OWN-1")
    await site.change(id_, description="third")
    assert (await site.resume(CUSTOMERS, master="dataverse")).state == "completed"
    (record,) = await site.both("Numbered")
    assert (record["number"], record["memo"]) == ("OWN-1", "third")
