"""Deletes and assignments go on to the rows that point at the row, as relationships say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from tests.support.callers import CALLER

from isthmus.apps.change import Change, Operation
from isthmus.apps.message import Message, Row
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.behaviour.audit import UPDATE_COLUMNS
from isthmus.errors import Conflict, Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.relationship import Cascade

Create = Callable[..., Awaitable[UUID]]
Read = Callable[..., Awaitable[dict[str, Any]]]
Write = Callable[..., Awaitable[list[Change]]]


async def test_rows_below_go_with_their_parent_and_others_lose_their_link(
    create: Create, read: Read, write: Write
) -> None:
    account = await create("account", name="A")
    contact = await create("contact", lastname="C", parentcustomerid=account)
    below = await create("contact", lastname="D", parentcustomerid=contact)
    child = await create("account", name="B", parentaccountid=account)
    await write(Operation.UPDATE, "account", Row(id=account, values={"primarycontactid": contact}))
    changes = await write(Operation.DELETE, "account", Row(id=account))
    assert not await read("account", account)
    assert not await read("contact", contact)
    assert not await read("contact", below)
    assert (await read("account", child))["parentaccountid"] is None
    # Those below go first, as they must for a partner that keeps the same order.
    deleted = [change.id for change in changes if change.operation is Operation.DELETE]
    assert deleted == [below, contact, account]
    assert [(c.id, c.columns - UPDATE_COLUMNS) for c in changes if c.operation is Operation.UPDATE] == [
        (child, {"parentaccountid"})
    ]


async def test_rows_that_point_at_each_other_in_a_circle_can_be_deleted(
    create: Create, read: Read, write: Write
) -> None:
    first = await create("contact", lastname="A")
    second = await create("contact", lastname="B", parentcustomerid=first)
    await write(Operation.UPDATE, "contact", Row(id=first, values={"parentcustomerid": second}))
    await write(Operation.DELETE, "contact", Row(id=first))
    assert not await read("contact", first)
    assert not await read("contact", second)


async def test_a_restricted_row_stays(app: DataverseApp, create: Create, read: Read, write: Write) -> None:
    company = await create("cdm_company", cdm_companycode=uuid4().hex[:4])
    account = await create("account", name="A", msdyn_company=company)
    with pytest.raises(Conflict) as caught:
        await write(Operation.DELETE, "cdm_company", Row(id=company))
    assert caught.value.code == "delete_restricted"
    assert "'account'" in caught.value.message
    await write(Operation.DELETE, "account", Row(id=account))
    await write(Operation.DELETE, "cdm_company", Row(id=company))
    assert not await read("cdm_company", company)


@pytest.mark.parametrize("assign", ["Cascade", "UserOwned", "Active", "NoCascade"])
async def test_an_owner_is_handed_down(app: DataverseApp, create: Create, read: Read, assign: Any) -> None:
    other = DataverseApp(app.pool, _with_assign(app.catalog, "contact_customer_accounts", assign))
    user = await app.users.of(app.pool.origin.fetch, CALLER)
    teams = [
        await create("team", name=f"T{uuid4().hex[:6]}", businessunitid=user.business_unit, teamtype=0)
        for _ in range(2)
    ]
    account = await create("account", name="A")
    plain = await create("contact", lastname="P", parentcustomerid=account)
    inactive = await create("contact", lastname="I", parentcustomerid=account, statecode=1)
    others = await create("contact", lastname="O", parentcustomerid=account, ownerid=teams[0])
    async with other.context(CALLER, correlation_id="test") as context:
        row = Row(id=account, values={"ownerid": teams[1]})
        await other.execute(context, Message(operation=Operation.UPDATE, table="account", rows=[row]))
        await context.commit()
    handed = {name for name, row_id in (("plain", plain), ("inactive", inactive), ("others", others))
              if (await read("contact", row_id))["ownerid"] == teams[1]}  # fmt: skip
    assert (
        handed
        == {
            "Cascade": {"plain", "inactive", "others"},
            "UserOwned": {"plain", "inactive"},
            "Active": {"plain", "others"},
            "NoCascade": set(),
        }[assign]
    )


def _with_assign(catalog: Catalog, schema_name: str, assign: Any) -> Catalog:
    changed = tuple(
        msgspec.structs.replace(r, cascade=msgspec.structs.replace(r.cascade, assign=assign))
        if r.schema_name == schema_name
        else r
        for r in catalog.one_to_many
    )
    assert any(r.cascade == Cascade() for r in catalog.one_to_many)
    return msgspec.structs.replace(catalog, one_to_many=changed)


async def test_users_are_disabled_not_deleted(app: DataverseApp, write: Write) -> None:
    user = await app.users.of(app.pool.origin.fetch, CALLER)
    with pytest.raises(Rejected) as caught:
        await write(Operation.DELETE, "systemuser", Row(id=user.id))
    assert caught.value.code == "not_deletable"
