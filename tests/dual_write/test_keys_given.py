"""Accounts without a number, made while their table map was paused: F&O numbers them, and nothing loses its way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from tests.conftest import NewDatabase
from tests.support.customers import CUSTOMERS, PARTIES, RECORDS, VENDORS, Customers
from tests.support.writing import create, delete

from isthmus.config import Settings
from isthmus.dual_write import catch_up
from isthmus.environments.environment import Environment
from isthmus.errors import Rejected


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
@pytest.mark.parametrize("number", [None, "GONE"])
@pytest.mark.parametrize(("live", "batch"), [("after", 256), ("keep", 1)])
async def test_what_was_deleted_again_is_deleted_there_too(
    site: Customers,
    paused: tuple[str, ...],
    number: str | None,
    live: str,
    batch: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What F&O works out for it meanwhile has nowhere to go: not into a row, and not into a new one."""
    monkeypatch.setattr(catch_up, "BATCH", batch)
    name = f"Gone {len(paused)} {number} {live}"
    await site.pause(*paused)
    id_ = await site.account(name, **({} if number is None else {"accountnumber": number}))
    await site.change(id_, description="second")
    await delete(site.dataverse, "account", id_)
    request = await site.resume(*paused, live=live, master="dataverse")
    assert (request.state, [part.refused for part in request.progress]) == ("completed", [0] * len(paused))
    assert await site.both(name) == []


async def test_a_deletion_that_was_dismissed_leaves_its_customer(site: Customers) -> None:
    """The creation arrives; the number that F&O gives has no row to come back to."""
    await site.pause(CUSTOMERS)
    await delete(site.dataverse, "account", await site.account("Dismissed"))
    last = (await site.queued("dataverse", table_map=CUSTOMERS))[-1]
    await site.dual_write.queue.dismiss("dataverse", CUSTOMERS, [last.id], by="tester", reason="it stays")
    request = await site.resume(CUSTOMERS, live="keep", master="dataverse")
    assert (request.state, [part.refused for part in request.progress]) == ("completed", [0])
    (record,) = await site.finops.pool.origin.fetch(RECORDS, "Dismissed")
    await site.stop(CUSTOMERS)
    recid = await site.finops.pool.origin.fetchval(
        "select recid from finops.custtable where accountnum = $1", record["number"]
    )
    await delete(site.finops, "CustCustomerV3Entity", recid)


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


async def test_who_names_a_record_without_number_names_it_afterwards(site: Customers) -> None:
    """Both wait: the one that is named gets its number when it is delivered, the other was queued before that."""
    await site.pause(CUSTOMERS)
    payer = await site.account("Names a payer")
    await site.account("Names b paid", msdyn_billingaccount=payer)
    assert (await site.resume(CUSTOMERS, master="dataverse")).state == "completed"
    first, second = await site.both("Names %")
    assert second["payer"] == first["number"]


async def test_rows_of_one_save_name_each_other_by_their_new_numbers(site: Customers) -> None:
    payer, paid = uuid4(), uuid4()
    values = [
        {
            **site.values,
            "accountid": paid,
            "name": "Pays b paid",
            "description": "first",
            "msdyn_billingaccount": payer,
        },
        {**site.values, "accountid": payer, "name": "Pays a payer", "description": "first"},
    ]
    await create(site.dataverse, "account", *values)
    first, second = await site.both("Pays %")
    assert second["payer"] == first["number"]


async def test_the_party_that_an_account_names_goes_first(site: Customers) -> None:
    """Both were made while nothing ran, and nobody has run initial sync since: saving the account brings both over."""
    await site.stop(PARTIES, CUSTOMERS)
    id_ = await site.account("Stopped")
    await site.dual_write.states.change((PARTIES, CUSTOMERS), "running", by="tester")
    await site.change(id_, description="second")
    (record,) = await site.both("Stopped")
    assert record["number"] and record["party"]


async def test_a_party_that_waits_holds_its_account_back(site: Customers) -> None:
    await site.pause(PARTIES)
    with pytest.raises(Rejected) as refusal:
        await site.account("Held back")
    assert refusal.value.code == "lookup_not_found"
    assert f"table map '{PARTIES}' is paused" in refusal.value.message
    assert refusal.value.details["field"] == "partynumber"
    assert await site.both("Held back") == []


async def test_a_customer_whose_party_is_still_to_come_gets_no_other_one(site: Customers) -> None:
    """Dataverse makes a party for an account that names none; one that comes through a table map has one already."""
    await site.stop(PARTIES, CUSTOMERS)
    values = {"customeraccount": "LATE", "organizationname": "Late", "partytype": "Organization", "salesmemo": "first"}
    values |= {"dataareaid": "usmf", "customergroupid": "10", "salescurrencycode": "USD"}
    await create(site.finops, "CustCustomerV3Entity", values)
    await site.run(CUSTOMERS, master="finops", needed=False)
    fetch = site.dataverse.pool.origin.fetchrow
    account = await fetch("select name, msdyn_partyid from dataverse.account where accountnumber = 'LATE'")
    assert dict(account) == {"name": None, "msdyn_partyid": None}
    await site.stop(CUSTOMERS)
    await site.run(PARTIES, CUSTOMERS, master="finops")
    (record,) = await site.both("Late")
    assert record["party"]


async def test_a_row_that_nobody_will_number_holds_nothing_up(site: Customers) -> None:
    """The vendor's map is stopped: the account crosses without it, whatever else flows back in the same save."""
    await site.stop(VENDORS)
    company = site.values["msdyn_company"]
    (vendor,) = await create(site.dataverse, "msdyn_vendor", {"msdyn_company": company})
    await site.account("Buys", msdyn_vendor=vendor, address1_line1="1 Pier", address1_city="Tacoma")
    (record,) = await site.both("Buys")
    assert record["number"]
    address = "select addressstreet, addresscity from finops.custcustomerv3entity where customeraccount = $1"
    found = await site.finops.pool.origin.fetchrow(address, record["number"])
    assert tuple(found) == ("1 Pier", "Tacoma")
