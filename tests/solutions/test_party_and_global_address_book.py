"""Names and addresses of accounts and contacts are those of their parties, in as few writes as it takes."""

from __future__ import annotations

from typing import Any

from tests.support.callers import CALLER
from tests.support.writing import create, update

from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.environments.environment import Environment

_SHOWN = """
    select a.name, a.address1_line1, a.address2_line1, p.msdyn_organizationname, a.versionnumber
    from dataverse.account a join dataverse.msdyn_party p using (msdyn_partyid)
    where a.accountid = any($1::uuid[]) order by a.name
"""
_PLACES = """
    select a.name, l.msdyn_postaladdresspurposenames, d.msdyn_street from dataverse.account a
    join dataverse.msdyn_partypostaladdress l using (msdyn_partyid)
    join dataverse.msdyn_postaladdress d using (msdyn_postaladdresscollectionid)
    where a.accountid = any($1::uuid[]) order by 1, 2
"""


async def rows(halves: Environment, sql: str, ids: list[Any]) -> list[tuple[Any, ...]]:
    return [tuple(record) for record in await halves.dataverse_app.pool.fetch(sql, ids)]


async def test_addresses_of_many_accounts_are_made_in_one_message_a_table(halves: Environment) -> None:
    app = halves.dataverse_app
    given = [
        {"name": "Many 1", "address1_line1": "1 Main St", "address2_line1": "1 Dock Rd"},
        {"name": "Many 2", "address2_line1": "2 Dock Rd"},
        {"name": "Many 3", "address1_line1": None},
    ]
    async with app.context(CALLER, correlation_id="test") as context:
        accounts = [Row(values=dict(values)) for values in given]
        await app.execute(context, Message(operation=Operation.CREATE, table="account", rows=accounts))
        made = [change.table for change in context.changes if change.table != "account"]
        # What one message changes stands together.
        assert [table for number, table in enumerate(made) if made[number - 1 : number] != [table]] == [
            "msdyn_party",
            "msdyn_postaladdresscollection",
            "msdyn_postaladdress",
            "msdyn_partypostaladdress",
        ]
        await context.commit()
    assert await rows(halves, _PLACES, [row.id for row in accounts]) == [
        ("Many 1", "Delivery", "1 Dock Rd"),
        ("Many 1", "Invoice", "1 Main St"),
        ("Many 2", "Delivery", "2 Dock Rd"),
    ]


async def test_accounts_of_one_party_share_its_address(halves: Environment) -> None:
    app = halves.dataverse_app
    (party,) = await create(app, "msdyn_party", {"msdyn_partytype": 192350002, "msdyn_organizationname": "Shared"})
    ids = await create(
        app,
        "account",
        {"name": "Shared", "msdyn_partyid": party, "address1_line1": "3 First St"},
        {"name": "Shared", "msdyn_partyid": party, "address1_line1": "3 Last St"},
    )
    shown = [(record[1], record[3]) for record in await rows(halves, _SHOWN, ids)]
    assert shown == [("3 Last St", "Shared")] * 2
    assert {record[1:] for record in await rows(halves, _PLACES, ids)} == {("Invoice", "3 Last St")}


async def test_a_new_name_is_written_once_on_each_row_that_lacks_it(halves: Environment) -> None:
    app = halves.dataverse_app
    (first,) = await create(app, "account", {"name": "Before"})
    party = await app.pool.origin.fetchval("select msdyn_partyid from dataverse.account where accountid = $1", first)
    (second,) = await create(app, "account", {"name": "Before", "msdyn_partyid": party})
    async with app.context(CALLER, correlation_id="test") as context:
        renamed = Row(id=first, values={"name": "After"})
        await app.execute(context, Message(operation=Operation.UPDATE, table="account", rows=[renamed]))
        await context.commit()
    assert renamed.after is not None
    shown = await rows(halves, _SHOWN, [first])
    assert (shown[0][0], shown[0][3]) == ("After", "After")
    assert shown[0][4] == renamed.after["versionnumber"], "the row that was renamed was not written a second time"
    assert (await rows(halves, _SHOWN, [second]))[0][0] == "After"
    await update(app, "msdyn_party", {party: {"msdyn_organizationname": "Again"}})
    assert [record[0] for record in await rows(halves, _SHOWN, [first, second])] == ["Again"] * 2
