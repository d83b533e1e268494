"""One transaction that changes many rows is one batch per leg, whatever its rows refer to."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.support.both_halves import BothHalves, RowId, Sent
from tests.support.callers import CALLER
from tests.support.choices import Seeded
from tests.support.world import COMPANIES
from tests.support.writing import delete

from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.apps.principal import Half

ACCOUNTS, CONTACTS = "accounts - Customers V3", "contacts - Customers V3"
GROUPS, PARTIES = "msdyn_customergroups - Customer groups", "msdyn_parties - CDS Parties"
ORDERS, LINES = "salesorders - CDS sales order headers", "salesorderdetails - CDS sales order lines"
CALENDARS = "msdyn_fiscalcalendars - Fiscal calendar integration entity"
YEARS = "msdyn_fiscalcalendaryears - Fiscal calendar year integration entity"
COMPANY = COMPANIES[0]


class Transaction:
    """Creates of several maps, made in one transaction of a half; afterwards every record must be equal on both."""

    def __init__(self, both: BothHalves, half: Half) -> None:
        self.both = both
        self.half = half
        self.steps: list[tuple[str, list[dict[str, Any]]]] = []
        self.ids: dict[str, list[RowId]] = {}
        self.sent: list[Sent] = []

    def add(self, name: str, rows: list[dict[str, Any]]) -> None:
        self.steps.append((name, rows))

    async def run(self) -> None:
        self.both.sent.clear()
        app = self.both.apps[self.half]
        async with app.context(CALLER, correlation_id="test") as context:
            for name, values in self.steps:
                rows = [Row(id=row.pop("id", None), values=dict(row)) for row in values]
                table = self.both.name_on(self.half, self.both.catalog.table_maps[name])
                await app.execute(context, Message(operation=Operation.CREATE, table=table, rows=rows))
                self.ids[name] = [row.id for row in rows if row.id is not None]
            await context.commit()
        self.sent = [sent for sent in self.both.sent if sent.half != self.half]
        for name, ids in self.ids.items():
            for row_id in ids:
                await self.both.assert_equal(self.both.catalog.table_maps[name], self.half, row_id)

    def creates(self, table: str) -> list[int]:
        """How many rows each create on the other half had."""
        return [sent.rows for sent in self.sent if sent.table == table and sent.operation is Operation.CREATE]

    async def remove(self) -> None:
        for name, ids in reversed(self.ids.items()):
            table_map = self.both.catalog.table_maps[name]
            await delete(self.both.apps[self.half], self.both.name_on(self.half, table_map), *ids)


def records(both: BothHalves, name: str, half: Half, count: int, **pins: Any) -> list[dict[str, Any]]:
    """That many generated records of a map."""
    maker = both.maker(name)
    company = COMPANY if maker.is_company_specific else None
    choices = Seeded(17)
    return [both.generate(maker, half, choices, company, set(), pins=pins)[1] for _ in range(count)]


async def test_customers_with_their_parties_and_groups(both: BothHalves) -> None:
    transaction = Transaction(both, "finops")
    parties = records(both, PARTIES, "finops", 50, partytype="Organization")
    groups = records(both, GROUPS, "finops", 5)
    customers = records(both, ACCOUNTS, "finops", 50)
    for number, customer in enumerate(customers):
        customer["partynumber"] = parties[number]["partynumber"]
        customer["customergroupid"] = groups[number % 5]["customergroupid"]
    transaction.add(PARTIES, parties)
    transaction.add(GROUPS, groups)
    transaction.add(ACCOUNTS, customers)
    await transaction.run()
    assert transaction.creates("msdyn_party") == [50]
    assert transaction.creates("msdyn_customergroup") == [5]
    assert transaction.creates("account") == [50]
    assert len(transaction.sent) == 3, transaction.sent
    await transaction.remove()


async def test_accounts_with_their_parties_and_groups(both: BothHalves) -> None:
    transaction = Transaction(both, "dataverse")
    parties = [{**row, "id": uuid4()} for row in records(both, PARTIES, "dataverse", 20, partytype="Organization")]
    groups = [{**row, "id": uuid4()} for row in records(both, GROUPS, "dataverse", 4)]
    accounts = records(both, ACCOUNTS, "dataverse", 20)
    for number, account in enumerate(accounts):
        account["msdyn_partyid"] = parties[number]["id"]
        account["msdyn_customergroupid"] = groups[number % 4]["id"]
    transaction.add(PARTIES, parties)
    transaction.add(GROUPS, groups)
    transaction.add(ACCOUNTS, accounts)
    await transaction.run()
    for entity, count in (("DirPartyCDSEntity", 20), ("CustCustomerGroupEntity", 4), ("CustCustomerV3Entity", 20)):
        assert transaction.creates(entity) == [count]
    assert len(transaction.sent) == 3, transaction.sent
    await transaction.remove()


async def test_an_order_with_its_lines(both: BothHalves) -> None:
    transaction = Transaction(both, "finops")
    (order,) = records(both, ORDERS, "finops", 1)
    lines = records(both, LINES, "finops", 10)
    for line in lines:
        line["salesordernumber"] = order["salesordernumber"]
    transaction.add(ORDERS, [order])
    transaction.add(LINES, lines)
    await transaction.run()
    assert transaction.creates("salesorder") == [1]
    assert transaction.creates("salesorderdetail") == [10]
    assert len(transaction.sent) == 2, transaction.sent
    await transaction.remove()


async def test_the_batch_is_ordered_by_lookups(both: BothHalves) -> None:
    """Years are written before the calendars that they name; F&O does not mind, a lookup would."""
    transaction = Transaction(both, "finops")
    calendars, years = records(both, CALENDARS, "finops", 3), records(both, YEARS, "finops", 9)
    for number, year in enumerate(years):
        year["fiscalcalendar_calendarid"] = calendars[number % 3]["calendarid"]
    transaction.add(YEARS, years)
    transaction.add(CALENDARS, calendars)
    await transaction.run()
    assert [sent.table for sent in transaction.sent] == ["msdyn_fiscalcalendar", "msdyn_fiscalcalendaryear"]
    assert [sent.rows for sent in transaction.sent] == [3, 9]
    transaction.ids = {name: transaction.ids[name] for name in (CALENDARS, YEARS)}
    await transaction.remove()


async def test_rows_that_refer_to_each_other(both: BothHalves) -> None:
    """Two customers that are each other's invoice account: written without the reference, then completed in one go."""
    transaction = Transaction(both, "finops")
    one, other = records(both, ACCOUNTS, "finops", 2)
    one["invoiceaccount"], other["invoiceaccount"] = other["customeraccount"], one["customeraccount"]
    transaction.add(ACCOUNTS, [one, other])
    await transaction.run()
    accounts = [sent for sent in transaction.sent if sent.table == "account"]
    assert [(sent.operation, sent.rows) for sent in accounts] == [(Operation.CREATE, 2), (Operation.UPDATE, 2)]
    ids = transaction.ids[ACCOUNTS]
    customers = both.environment.finops_app
    async with customers.context(CALLER, correlation_id="test") as context:
        rows = [Row(id=row_id, values={"invoiceaccount": ""}) for row_id in ids]
        message = Message(operation=Operation.UPDATE, table="CustCustomerV3Entity", rows=rows)
        await customers.execute(context, message)
        await context.commit()
    await transaction.remove()


async def test_persons_and_organizations_of_one_entity_go_to_tables_of_their_own(both: BothHalves) -> None:
    """Accounts and contacts over the same customers: one batch for each, and nothing comes back."""
    transaction = Transaction(both, "finops")
    organizations, persons = records(both, ACCOUNTS, "finops", 6), records(both, CONTACTS, "finops", 4)
    mixed = [row for pair in zip(organizations[:4], persons, strict=True) for row in pair] + organizations[4:]
    transaction.add(ACCOUNTS, mixed)
    both.sent.clear()
    app = both.apps["finops"]
    async with app.context(CALLER, correlation_id="test") as context:
        rows = [Row(values=dict(values)) for values in mixed]
        await app.execute(context, Message(operation=Operation.CREATE, table="CustCustomerV3Entity", rows=rows))
        await context.commit()
    for row in rows:
        assert isinstance(row.id, int)
        await both.assert_equal(both.catalog.table_maps[ACCOUNTS], "finops", row.id)
    for table, name, count in (("account", ACCOUNTS, 6), ("contact", CONTACTS, 4)):
        written = [(sent.through, sent.operation, sent.rows) for sent in both.writes_to("dataverse", table)]
        assert written == [(name, Operation.CREATE, count)]
    assert both.writes_to("finops", "CustCustomerV3Entity") == []
    await delete(app, "CustCustomerV3Entity", *(row.id for row in rows if isinstance(row.id, int)))


async def test_a_party_named_in_another_case_touches_nobody_else_who_has_it(both: BothHalves) -> None:
    """Numbers are compared without regard to case; a new customer that writes one differently renames no party."""
    transaction = Transaction(both, "finops")
    (party,) = records(both, PARTIES, "finops", 1, partytype="Person", partynumber="Shared-1")
    persons = records(both, CONTACTS, "finops", 4)
    for person in persons:
        person["partynumber"] = "Shared-1"
    transaction.add(PARTIES, [party])
    transaction.add(CONTACTS, persons[:3])
    await transaction.run()
    another = Transaction(both, "finops")
    another.add(CONTACTS, [{**persons[3], "partynumber": "sHARED-1"}])
    versions = "select sum(versionnumber) from dataverse.contact where msdyn_contactpersonid = any($1)"
    accounts = [person["customeraccount"] for person in persons[:3]]
    before = await both.dataverse.fetchval(versions, accounts)
    await another.run()
    assert [(sent.table, sent.operation, sent.rows) for sent in another.sent] == [("contact", Operation.CREATE, 1)]
    assert await both.dataverse.fetchval(versions, accounts) == before
    await another.remove()
    await transaction.remove()
