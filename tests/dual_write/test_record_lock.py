"""Writers of the same records: they queue, in one order on both halves, wherever each of them began."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from tests.support.writing import create, delete, update

from isthmus.apps.principal import Half
from isthmus.dual_write import exchange as exchange_module
from isthmus.environments.environment import Environment
from isthmus.errors import IsthmusError
from isthmus.store import two_phase
from isthmus.store.transaction import Transaction

COMPANY = "lock"
SECONDS = 2.5
"""Less than the three seconds after which a deadlock across the two databases is given up."""


@pytest.fixture(scope="session")
async def legal_entity(halves: Environment) -> Environment:
    """A legal entity of these tests' own, with a currency and a customer group."""
    finops = halves.finops_app
    await create(finops, "CurrencyEntity", {"currencycode": "LCK", "name": "Lock", "symbol": "L"})
    await create(finops, "OMLegalEntity", {"legalentityid": COMPANY, "name": "Locksmiths"})
    await create(
        finops,
        "CustCustomerGroupEntity",
        {"dataareaid": COMPANY, "customergroupid": "L", "description": "Locked"},
    )
    return halves


async def new_customer(halves: Environment, number: str) -> int:
    """A customer of this number, by way of F&O; its RecId."""
    (recid,) = await create(
        halves.finops_app,
        "CustCustomerV3Entity",
        {
            "dataareaid": COMPANY,
            "customeraccount": number,
            "organizationname": f"Customer {number}",
            "partytype": "Organization",
            "customergroupid": "L",
            "salescurrencycode": "LCK",
        },
    )
    return int(recid)


async def new_account(halves: Environment, number: str) -> UUID:
    """An account of this number, by way of Dataverse; its id."""
    pool = halves.dataverse_app.pool.origin
    (id_,) = await create(
        halves.dataverse_app,
        "account",
        {
            "name": f"Customer {number}",
            "accountnumber": number,
            "customertypecode": 3,
            "msdyn_company": await pool.fetchval(
                "select cdm_companyid from dataverse.cdm_company where lower(cdm_companycode) = $1", COMPANY
            ),
            "msdyn_customergroupid": await pool.fetchval(
                "select msdyn_customergroupid from dataverse.msdyn_customergroup where msdyn_groupid = 'L'"
            ),
            "transactioncurrencyid": await pool.fetchval(
                "select transactioncurrencyid from dataverse.transactioncurrency where isocurrencycode = 'LCK'"
            ),
        },
    )
    return UUID(str(id_))


async def account_id(halves: Environment, number: str) -> UUID | None:
    found: UUID | None = await halves.dataverse_app.pool.origin.fetchval(
        "select accountid from dataverse.account where accountnumber = $1", number
    )
    return found


async def limits(halves: Environment, numbers: list[str]) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Credit limits on Dataverse and on F&O by account number; a record that is not there is missing."""
    there = await halves.dataverse_app.pool.origin.fetch(
        "select accountnumber, creditlimit from dataverse.account where accountnumber = any($1)", numbers
    )
    here = await halves.finops_app.pool.origin.fetch(
        "select customeraccount, creditlimit from finops.custcustomerv3entity where customeraccount = any($1)", numbers
    )
    return {row[0]: row[1] or Decimal(0) for row in there}, {row[0]: row[1] for row in here}


async def outcome(save: Awaitable[Any]) -> IsthmusError | None:
    """How a save ended: None when it stands. Fails when it takes longer than waiting in turn can."""
    try:
        await asyncio.wait_for(save, SECONDS)
    except IsthmusError as error:
        return error
    return None


async def opposite_writes(halves: Environment, numbers: list[str], rounds: int) -> list[IsthmusError | None]:
    """Writers on both halves, each changing all records in one save, in an order of its own."""
    recids = {
        row["customeraccount"]: row["recid"]
        for row in await halves.finops_app.pool.origin.fetch(
            "select customeraccount, recid from finops.custcustomerv3entity where customeraccount = any($1)", numbers
        )
    }
    accounts = {number: await account_id(halves, number) for number in numbers}

    def changes(ids: dict[str, Any]) -> dict[Any, dict[str, Any]]:
        order = random.sample(numbers, len(numbers))
        return {ids[number]: {"creditlimit": Decimal(random.randrange(1, 10**6))} for number in order}

    return await asyncio.gather(
        *(outcome(update(halves.dataverse_app, "account", changes(accounts))) for _ in range(rounds)),
        *(outcome(update(halves.finops_app, "CustCustomerV3Entity", changes(recids))) for _ in range(rounds)),
    )


async def test_opposite_writers_of_one_record_queue(legal_entity: Environment) -> None:
    await new_customer(legal_entity, "L1")
    for _ in range(5):
        assert await opposite_writes(legal_entity, ["L1"], 2) == [None] * 4
        dataverse, finops = await limits(legal_entity, ["L1"])
        assert dataverse == finops


async def test_opposite_writers_of_many_records_in_different_order_queue(legal_entity: Environment) -> None:
    numbers = [f"L2-{index}" for index in range(6)]
    for number in numbers:
        await new_customer(legal_entity, number)
    for _ in range(5):
        assert await opposite_writes(legal_entity, numbers, 2) == [None] * 4
        dataverse, finops = await limits(legal_entity, numbers)
        assert len(finops) == 6 and dataverse == finops


async def test_without_the_lock_opposite_writers_wait_for_each_other(
    legal_entity: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above is able to fail: no database sees the whole circle, so only a time-out ends it."""

    def of_its_own(table_map: str, key: str) -> int:
        return random.getrandbits(62)

    await new_customer(legal_entity, "L3")
    monkeypatch.setattr(exchange_module, "lock_number", of_its_own)
    for _ in range(20):
        try:
            ended = await opposite_writes(legal_entity, ["L3"], 2)
        except TimeoutError:
            return
        if any(ended):
            return
    raise AssertionError("nobody ever waited in a circle: these tests do not test the lock")


async def test_one_key_created_on_both_halves_at_once_is_one_record(legal_entity: Environment) -> None:
    for index in range(5):
        number = f"L4-{index}"
        ended = await asyncio.gather(
            outcome(new_customer(legal_entity, number)), outcome(new_account(legal_entity, number))
        )
        refused = [error for error in ended if error is not None]
        assert len(refused) <= 1
        assert {error.code for error in refused} <= {"duplicate_key", "lock_timeout"}
        dataverse, finops = await limits(legal_entity, [number])
        assert list(dataverse) == list(finops) == [number]


async def test_delete_against_update_leaves_both_or_neither(legal_entity: Environment) -> None:
    for index in range(6):
        number = f"L5-{index}"
        recid = await new_customer(legal_entity, number)
        id_ = await account_id(legal_entity, number)
        assert id_ is not None
        if index % 2:
            removal = delete(legal_entity.finops_app, "CustCustomerV3Entity", recid)
            change = update(legal_entity.dataverse_app, "account", {id_: {"creditlimit": Decimal(5)}})
        else:
            removal = delete(legal_entity.dataverse_app, "account", id_)
            change = update(legal_entity.finops_app, "CustCustomerV3Entity", {recid: {"creditlimit": Decimal(5)}})
        removed, _ = await asyncio.gather(outcome(removal), outcome(change))
        assert removed is None
        assert await limits(legal_entity, [number]) == ({}, {})


@asynccontextmanager
async def unfinished(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """Saves that begin in here stay prepared on the partner, as when their process dies after the decision."""
    left: list[str] = []

    async def leave(partner: Transaction, gid: str) -> bool:
        left.append(gid)
        return False

    with monkeypatch.context() as patch:
        patch.setattr(two_phase, "_finish_partner", leave)
        yield left


@pytest.mark.parametrize("half", ["dataverse", "finops"])
async def test_delete_waits_for_a_create_that_is_not_finished(
    legal_entity: Environment, monkeypatch: pytest.MonkeyPatch, half: Half
) -> None:
    """Or it would not see the prepared row on the partner, and recovery would bring that row for good."""
    number = f"L6-{half}"
    async with unfinished(monkeypatch) as left:
        if half == "finops":
            recid = await new_customer(legal_entity, number)
            removal = delete(legal_entity.finops_app, "CustCustomerV3Entity", recid)
        else:
            removal = delete(legal_entity.dataverse_app, "account", await new_account(legal_entity, number))
    deleting = asyncio.create_task(removal)
    await asyncio.sleep(0.3)
    assert not deleting.done()
    for gid in left:
        await legal_entity.recovery.resolve(gid)
    await asyncio.wait_for(deleting, SECONDS)
    assert await limits(legal_entity, [number]) == ({}, {})
