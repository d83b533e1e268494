"""What Dataverse does with every row by itself: states, names, owners, audit columns, companies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.support.callers import CALLER

from isthmus.apps.change import Change, Operation
from isthmus.apps.message import Message, Row
from isthmus.apps.principal import DUAL_WRITE, Principal
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.behaviour.audit import UPDATE_COLUMNS
from isthmus.errors import IsthmusError, NotFound, Rejected

Create = Callable[..., Awaitable[UUID]]
Read = Callable[..., Awaitable[dict[str, Any]]]
Write = Callable[..., Awaitable[list[Change]]]


async def test_states_follow_each_other(create: Create, read: Read, write: Write) -> None:
    row_id = await create("account", name="A")
    assert ((await read("account", row_id))["statecode"], (await read("account", row_id))["statuscode"]) == (0, 1)
    await write(Operation.UPDATE, "account", Row(id=row_id, values={"statecode": 1}))
    assert ((await read("account", row_id))["statecode"], (await read("account", row_id))["statuscode"]) == (1, 2)


@pytest.mark.parametrize("values", [{"statuscode": 2}, {"statecode": 1, "statuscode": 1}])
async def test_a_status_reason_of_another_state_is_refused(create: Create, write: Write, values: Any) -> None:
    row_id = await create("account", name="A")
    with pytest.raises(Rejected) as caught:
        await write(Operation.UPDATE, "account", Row(id=row_id, values=values))
    assert caught.value.code == "state_mismatch"


async def test_full_names_follow_their_parts(create: Create, read: Read, write: Write) -> None:
    row_id = await create("contact", firstname="Ada", lastname="Lovelace", fullname="ignored")
    assert (await read("contact", row_id))["fullname"] == "Ada Lovelace"
    changes = await write(Operation.UPDATE, "contact", Row(id=row_id, values={"lastname": "Byron"}))
    assert (await read("contact", row_id))["fullname"] == "Ada Byron"
    assert changes[0].columns - UPDATE_COLUMNS == {"lastname", "fullname"}
    assert changes[0].given == {"lastname"}


async def test_audit_columns_are_those_of_the_caller(app: DataverseApp, create: Create, read: Read) -> None:
    row = await read("account", await create("account", name="A"))
    user = await app.users.of(app.pool.origin.fetch, CALLER)
    assert {row["createdby"], row["modifiedby"], row["ownerid"], row["owninguser"]} == {user.id}
    assert row["owneridtype"] == "systemuser"
    assert row["owningbusinessunit"] == user.business_unit
    assert row["owningteam"] is None
    assert abs((datetime.now(UTC) - row["createdon"]).total_seconds()) < 5


async def test_an_overridden_creation_date_counts(create: Create, read: Read) -> None:
    then = datetime(2010, 6, 1, tzinfo=UTC)
    row = await read("account", await create("account", name="A", overriddencreatedon=then))
    assert row["createdon"] == then
    assert row["overriddencreatedon"] is not None


async def test_a_team_can_own(app: DataverseApp, create: Create, read: Read, write: Write) -> None:
    user = await app.users.of(app.pool.origin.fetch, CALLER)
    team = await create("team", name=f"T{uuid4().hex[:6]}", businessunitid=user.business_unit, teamtype=0)
    row_id = await create("account", name="A")
    await write(Operation.UPDATE, "account", Row(id=row_id, values={"ownerid": team}))
    row = await read("account", row_id)
    assert (row["ownerid"], row["owneridtype"], row["owningteam"], row["owninguser"]) == (team, "team", team, None)
    with pytest.raises(NotFound) as caught:
        await write(Operation.UPDATE, "account", Row(id=row_id, values={"ownerid": uuid4()}))
    assert caught.value.code == "lookup_not_found"


async def test_an_unknown_or_disabled_caller_stays_outside(app: DataverseApp, create: Create) -> None:
    stranger = Principal("user", str(uuid4()), "stranger", frozenset({"dataverse"}), float("inf"))
    with pytest.raises(Rejected) as caught:
        await app.users.of(app.pool.origin.fetch, stranger)
    assert caught.value.code == "user_not_member"
    user = await app.users.of(app.pool.origin.fetch, CALLER)
    await create(
        "systemuser",
        lastname="Stranger",
        domainname=stranger.object_id,
        businessunitid=user.business_unit,
        azureactivedirectoryobjectid=UUID(stranger.object_id),
        isdisabled=True,
    )
    with pytest.raises(Rejected) as caught:
        await app.users.of(app.pool.origin.fetch, stranger)
    assert caught.value.code == "user_disabled"


async def test_a_company_comes_with_its_owning_team(app: DataverseApp, create: Create, read: Read) -> None:
    code = uuid4().hex[:4]
    company = await create("cdm_company", cdm_companycode=code, cdm_name="Company")
    team_id = (await read("cdm_company", company))["cdm_defaultowningteam"]
    team = await read("team", team_id)
    assert team["name"] == f"{code} DW"
    assert (await read("businessunit", team["businessunitid"]))["name"] == code
    # What dual-write brings into the company belongs to that team; what it brings for all, to the root's default team.
    async with app.context(DUAL_WRITE, correlation_id="test", is_partner=True) as context:
        local = Row(values={"name": "L", "msdyn_company": company})
        shared = Row(values={"name": "G"})
        message = Message(operation=Operation.CREATE, table="account", rows=[local, shared], through="a map")
        await app.execute(context, message)
        await context.commit()
    assert (await read("account", local.id))["ownerid"] == team_id
    assert (await read("team", (await read("account", shared.id))["ownerid"]))["isdefault"]
    assert all(change.through == "a map" for change in context.changes)


async def test_a_row_keeps_its_company(create: Create, write: Write) -> None:
    first, second = [await create("cdm_company", cdm_companycode=uuid4().hex[:4]) for _ in range(2)]
    row_id = await create("account", name="A")
    await write(Operation.UPDATE, "account", Row(id=row_id, values={"msdyn_company": first}))
    await write(Operation.UPDATE, "account", Row(id=row_id, values={"msdyn_company": first, "name": "B"}))
    for other in (second, None):
        with pytest.raises(Rejected) as caught:
            await write(Operation.UPDATE, "account", Row(id=row_id, values={"msdyn_company": other}))
        assert caught.value.code == "company_read_only"


async def test_keys_are_unique_without_regard_to_case_and_only_when_complete(create: Create) -> None:
    company = await create("cdm_company", cdm_companycode=uuid4().hex[:4])
    number = f"n{uuid4().hex[:8]}"
    await create("account", accountnumber=number, msdyn_company=company)
    await create("account", accountnumber=number)
    await create("account", accountnumber=number)
    with pytest.raises(IsthmusError) as caught:
        await create("account", accountnumber=number.upper(), msdyn_company=company)
    assert caught.value.code == "duplicate_key"
    assert caught.value.details["key"] == "account_key"


async def test_lookups_must_point_at_rows_of_their_tables(create: Create, read: Read) -> None:
    account = await create("account", name="A")
    contact = await create("contact", lastname="C", parentcustomerid=account)
    assert (await read("contact", contact))["parentcustomeridtype"] == "account"
    other = await create("contact", lastname="D", parentcustomerid=contact)
    assert (await read("contact", other))["parentcustomeridtype"] == "contact"
    for values in (
        {"parentcustomerid": uuid4()},
        {"parentcustomerid": account, "parentcustomeridtype": "contact"},
        {"parentcustomerid": account, "parentcustomeridtype": "team"},
        {"transactioncurrencyid": uuid4()},
    ):
        with pytest.raises(IsthmusError) as caught:
            await create("contact", lastname="E", **values)
        assert caught.value.code in ("lookup_not_found", "lookup_target")
        assert next(iter(values)) in caught.value.message
