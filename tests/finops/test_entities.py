"""A record of a data entity is written over its data sources, and other entities show what was written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.finops.conftest import CUSTOMERS, PARTIES, VENDORS, Create, Read, Write
from tests.support.callers import CALLER

from isthmus.apps.change import Change, Operation
from isthmus.apps.message import Row
from isthmus.errors import Conflict, NotFound, Rejected
from isthmus.finops.app import FinopsApp

CUSTOMERS_V2 = "CustCustomerV2Entity"
HISTORY = "CDSPostalAddressHistoryV2Entity"


def by_table(changes: list[Change]) -> dict[str, Change]:
    assert len({change.table for change in changes}) == len(changes)
    return {change.table: change for change in changes}


async def test_a_new_customer_gets_an_account_and_a_party(new_customer: Create, read: Read) -> None:
    customer = await read(CUSTOMERS, await new_customer(organizationname="Contoso", creditlimit=2000))
    assert customer["customeraccount"].startswith("C-")
    assert customer["partynumber"]
    assert customer["partytype"] == "Organization"
    assert customer["creditlimit"] == Decimal(2000)
    party = await read(PARTIES, customer["party_recid"])
    assert (party["partynumber"], party["organizationname"]) == (customer["partynumber"], "Contoso")


async def test_a_source_without_row_shows_no_values(new_customer: Create, read: Read) -> None:
    customer = await read(CUSTOMERS, await new_customer())
    assert customer["invoiceaddress_recid"] is None
    assert customer["invoiceaddressstreet"] == ""
    assert customer["invoiceaddressvalidfrom"].year == 1900


async def test_an_address_changed_through_one_entity_shows_in_the_others(
    new_customer: Create, read: Read, write: Write
) -> None:
    recid = await new_customer(invoiceaddressstreet="1 Old Street", invoiceaddresscity="Lyon")
    before = await read(CUSTOMERS, recid)
    await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={"invoiceaddressstreet": "2 New Street"}))

    assert (await read(CUSTOMERS_V2, recid))["invoiceaddressstreet"] == "2 New Street"
    address = await read(HISTORY, before["invoiceaddress_recid"])
    assert (address["street"], address["city"]) == ("2 New Street", "Lyon")
    assert address["locationid"] == before["invoiceaddresslocationid"]
    assert address["validfrom"] == before["invoiceaddressvalidfrom"], "a change keeps the version's validity"

    await write(Operation.UPDATE, HISTORY, Row(id=before["invoiceaddress_recid"], values={"city": "Paris"}))
    assert (await read(CUSTOMERS, recid))["invoiceaddresscity"] == "Paris"


async def test_changes_are_told_per_physical_row(new_customer: Create, write: Write) -> None:
    recid = await new_customer(addressstreet="1 Main Street", creditlimit=10)
    row = Row(id=recid, values={"creditlimit": 20, "addressstreet": "2 Main Street", "salesmemo": ""})
    changes = by_table(await write(Operation.UPDATE, CUSTOMERS, row))

    assert changes.keys() == {"CustTable", "LogisticsPostalAddress"}
    assert changes["CustTable"].id == recid
    assert changes["CustTable"].columns == {"creditmax"}, "an unchanged field is no change"
    assert changes["CustTable"].given == {"creditmax"}
    assert (changes["CustTable"].before, changes["CustTable"].after) == (
        {"creditmax": Decimal(10)},
        {"creditmax": Decimal(20)},
    )
    address = changes["LogisticsPostalAddress"]
    assert address.columns == {"street", "address"}
    assert address.given == {"street"}, "the address as text was worked out here"
    assert row.before is not None and row.after is not None
    assert (row.before["creditlimit"], row.after["creditlimit"]) == (Decimal(10), Decimal(20))


async def test_created_rows_tell_what_was_given_and_what_was_worked_out(write: Write) -> None:
    row = Row(values={"dataareaid": "usmf", "customergroupid": "20", "organizationname": "Woodgrove"})
    changes = by_table(await write(Operation.CREATE, CUSTOMERS, row))
    assert changes["CustTable"].operation is Operation.CREATE
    assert changes["CustTable"].columns == {"accountnum", "custgroup", "currency", "party"}
    assert changes["CustTable"].given == {"custgroup"}
    assert {"partynumber", "languageid"} <= changes["DirPartyTable"].columns - changes["DirPartyTable"].given
    assert "name" in changes["DirPartyTable"].given
    assert row.after is not None and row.after["customeraccount"].startswith("C-")


async def test_a_change_carries_the_table_map_it_came_through(new_customer: Create, write: Write) -> None:
    recid = await new_customer()
    row = Row(id=recid, values={"creditlimit": 99})
    (change,) = await write(Operation.UPDATE, CUSTOMERS, row, through="Customers V3 - accounts")
    assert change.through == "Customers V3 - accounts"


async def test_an_update_without_a_change_succeeds_and_changes_nothing(
    new_customer: Create, write: Write, read: Read
) -> None:
    recid = await new_customer(creditlimit=5)
    before = await read(CUSTOMERS, recid)
    assert await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={"creditlimit": 5})) == []
    assert await read(CUSTOMERS, recid) == before


async def test_many_records_are_written_by_one_statement_per_table(app: FinopsApp, write: Write, read: Read) -> None:
    rows = [
        Row(values={"dataareaid": "usmf", "customergroupid": "20", "organizationname": f"Firm {number}"})
        for number in range(30)
    ]
    rows[7].values["addresscity"] = "Oslo"
    await write(Operation.CREATE, CUSTOMERS, *rows)
    assert len({row.id for row in rows}) == 30

    updates = [Row(id=row.id, values={"creditlimit": number}) for number, row in enumerate(rows)]
    updates[3].values = {"organizationname": "Renamed"}
    changes = await write(Operation.UPDATE, CUSTOMERS, *updates)
    assert len(changes) == 29, "the limit of the first one was 0 already"
    assert (await read(CUSTOMERS, updates[5].id or 0))["creditlimit"] == 5  # type: ignore[arg-type]
    renamed = await read(CUSTOMERS, updates[3].id or 0)  # type: ignore[arg-type]
    assert (renamed["organizationname"], renamed["creditlimit"]) == ("Renamed", 0)
    assert (await read(CUSTOMERS, rows[7].id or 0))["addresscity"] == "Oslo"  # type: ignore[arg-type]


async def test_a_known_party_number_joins_customer_and_vendor_to_one_party(
    new_customer: Create, create: Create, read: Read, write: Write
) -> None:
    customer = await read(CUSTOMERS, await new_customer(organizationname="Litware", addresscity="Bern"))
    recid = await create(VENDORS, dataareaid="usmf", vendorgroupid="10", vendorpartynumber=customer["partynumber"])
    vendor = await read(VENDORS, recid)
    assert vendor["party_recid"] == customer["party_recid"]
    assert vendor["vendororganizationname"] == "Litware"

    await write(Operation.UPDATE, VENDORS, Row(id=recid, values={"addresscity": "Basel", "vendorsearchname": "LW"}))
    seen = await read(CUSTOMERS, customer["recid"])
    assert (seen["addresscity"], seen["namealias"]) == ("Basel", "LW")
    assert seen["primaryaddress_recid"] == customer["primaryaddress_recid"], (
        "the party's address was found, not doubled"
    )


@pytest.mark.parametrize("through", [None, "vendors"])
async def test_a_party_named_in_another_case_keeps_its_number(
    new_customer: Create, create: Create, read: Read, write: Write, through: str | None
) -> None:
    customer = await read(CUSTOMERS, await new_customer(partynumber="Case-1", organizationname="Litware"))
    recid = await create(VENDORS, dataareaid="usmf", vendorgroupid="10", vendorpartynumber="cASE-1")
    assert (await read(VENDORS, recid))["party_recid"] == customer["party_recid"]
    values = {"vendorpartynumber": "CASE-1"}
    assert await write(Operation.UPDATE, VENDORS, Row(id=recid, values=values), through=through) == []
    seen = await read(CUSTOMERS, customer["recid"])
    assert (seen["partynumber"], seen["party_recid"]) == ("Case-1", customer["party_recid"])


async def test_an_unknown_party_number_of_a_customer_makes_the_party(new_customer: Create, read: Read) -> None:
    customer = await read(CUSTOMERS, await new_customer(partynumber="NEW-PARTY-1", organizationname="Tailspin"))
    assert customer["partynumber"] == "NEW-PARTY-1"


async def test_records_of_one_message_share_a_new_party(write: Write, read: Read) -> None:
    values = {"customergroupid": "10", "partynumber": "SHARED-1", "organizationname": "Shared"}
    rows = [Row(values={**values, "dataareaid": company, "salescurrencycode": "EUR"}) for company in ("usmf", "demf")]
    await write(Operation.CREATE, CUSTOMERS, *rows)
    found = [await read(CUSTOMERS, int(str(row.id))) for row in rows]
    assert found[0]["party_recid"] == found[1]["party_recid"]


async def test_an_address_of_an_unknown_party_is_refused(create: Create) -> None:
    with pytest.raises(Rejected) as refused:
        await create("DirPartyPostalAddressLocationCDSEntity", partynumber="NOBODY", locationid="NOWHERE")
    assert refused.value.code == "reference_not_found"
    assert "'NOBODY'" in refused.value.message and "'PartyNumber'" in refused.value.message


async def test_a_link_can_be_changed_and_emptied(
    new_customer: Create, create: Create, read: Read, write: Write
) -> None:
    contacts = "smmContactPersonCDSV2Entity"
    firms = [await read(CUSTOMERS, await new_customer(organizationname=name)) for name in ("First", "Second")]
    recid = await create(
        contacts,
        dataareaid="usmf",
        firstname="Ann",
        lastname="Beebe",
        associatedcontactnumber="C1",
        associatedpartynumber=firms[0]["partynumber"],
    )
    assert (await read(contacts, recid))["associatedparty_recid"] == firms[0]["party_recid"]
    values = {"associatedpartynumber": firms[1]["partynumber"]}
    (change,) = await write(Operation.UPDATE, contacts, Row(id=recid, values=values))
    assert (change.columns, change.given) == ({"contactforparty"}, set()), "what it shows of the firm was not given"
    assert (await read(contacts, recid))["associatedparty_recid"] == firms[1]["party_recid"]
    await write(Operation.UPDATE, contacts, Row(id=recid, values={"associatedpartynumber": ""}))
    assert (await read(contacts, recid))["associatedparty_recid"] is None
    assert (await read(CUSTOMERS, firms[1]["recid"]))["organizationname"] == "Second"


async def test_two_places_of_one_role_do_not_double_the_record(
    new_customer: Create, read: Read, create: Create, app: FinopsApp
) -> None:
    recid = await new_customer(invoiceaddresscity="Turin")
    customer = await read(CUSTOMERS, recid)
    location = await create("CDSPostalAddressLocationEntity", description="Another one")
    number = (await read("CDSPostalAddressLocationEntity", location))["locationid"]
    await create(
        "DirPartyPostalAddressLocationCDSEntity",
        partynumber=customer["partynumber"],
        locationid=number,
        purpose="Invoice",
    )
    sql = "select count(*), min(invoiceaddresscity) from finops.custcustomerv3entity where recid = $1"
    assert tuple(await app.pool.origin.fetchrow(sql, recid)) == (1, "Turin")


@pytest.mark.parametrize("key", ["customeraccount", "dataareaid"])
async def test_a_key_keeps_its_value(new_customer: Create, write: Write, read: Read, key: str) -> None:
    recid = await new_customer()
    same = (await read(CUSTOMERS, recid))[key].upper()
    await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={key: same, "creditlimit": 3}))
    with pytest.raises(Rejected) as refused:
        await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={key: "demf"}))
    assert refused.value.code == "key_not_editable"


async def test_a_key_that_is_taken_is_a_conflict(new_customer: Create) -> None:
    await new_customer(customeraccount="Twice")
    with pytest.raises(Conflict) as refused:
        await new_customer(customeraccount="TWICE")
    assert refused.value.code == "duplicate_key"
    assert "dataAreaId: usmf, AccountNum: twice. The record already exists." in refused.value.message
    await new_customer(customeraccount="Twice", dataareaid="demf", customergroupid="10", salescurrencycode="EUR")


async def test_a_stale_version_is_refused_whichever_row_of_the_record_changed(
    new_customer: Create, read: Read, write: Write
) -> None:
    recid = await new_customer(addresscity="Rome", invoiceaddresscity="Rome")
    customer = await read(CUSTOMERS, recid)
    changes: list[tuple[str, int, dict[str, Any]]] = [
        (CUSTOMERS, recid, {"creditlimit": 1}),
        (PARTIES, customer["party_recid"], {"organizationname": "Other"}),
        (HISTORY, customer["invoiceaddress_recid"], {"city": "Milan"}),
        ("CDSPostalAddressLocationEntity", customer["primarylocation_recid"], {"description": "Head office"}),
    ]
    for entity, changed, values in changes:
        version = (await read(CUSTOMERS, recid))["recversion"]
        await write(Operation.UPDATE, entity, Row(id=changed, values=values))
        with pytest.raises(Conflict) as refused:
            await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={"salesmemo": "x"}, version=version))
        assert refused.value.code == "version_mismatch", entity
    version = (await read(CUSTOMERS, recid))["recversion"]
    await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={"salesmemo": "x"}, version=version))


async def test_a_record_that_is_not_there(write: Write) -> None:
    for operation in (Operation.UPDATE, Operation.DELETE):
        with pytest.raises(NotFound):
            await write(operation, CUSTOMERS, Row(id=1, values={}))


async def test_delete_takes_the_root_and_leaves_the_party(new_customer: Create, read: Read, write: Write) -> None:
    recid = await new_customer(organizationname="Stays", addresscity="Rome")
    customer = await read(CUSTOMERS, recid)
    (change,) = await write(Operation.DELETE, CUSTOMERS, Row(id=recid))
    assert (change.table, change.operation, change.id) == ("CustTable", Operation.DELETE, recid)
    assert change.before is not None and change.before["accountnum"] == customer["customeraccount"]
    assert await read(CUSTOMERS, recid) == {}
    assert (await read(PARTIES, customer["party_recid"]))["organizationname"] == "Stays"

    changes = await write(Operation.DELETE, PARTIES, Row(id=customer["party_recid"]))
    assert [change.table for change in changes] == ["DirPartyLocation", "DirPartyTable"]


async def test_a_party_in_use_stays(new_customer: Create, read: Read, write: Write) -> None:
    customer = await read(CUSTOMERS, await new_customer())
    with pytest.raises(Conflict) as refused:
        await write(Operation.DELETE, PARTIES, Row(id=customer["party_recid"]))
    assert refused.value.code == "in_use"
    assert "CustTable" in refused.value.message


async def test_keys_are_found_many_at_a_time_whatever_their_case(
    app: FinopsApp, new_customer: Create, read: Read
) -> None:
    recids = [await new_customer(addresscity="Rome") for _ in range(2)]
    customers = [await read(CUSTOMERS, recid) for recid in recids]
    keys = [{"dataareaid": "USMF", "customeraccount": customer["customeraccount"].lower()} for customer in customers]
    async with app.context(CALLER, correlation_id="test") as context:
        found = await app.find(
            context.transaction, CUSTOMERS, [keys[1], {"dataareaid": "demf", "customeraccount": "x"}, keys[0]]
        )
        assert found == [recids[1], None, recids[0]]
        place = {"partynumber": customers[0]["partynumber"], "locationid": customers[0]["addresslocationid"]}
        (place_recid,) = await app.find(context.transaction, "DirPartyPostalAddressLocationCDSEntity", [place])
        assert place_recid == customers[0]["primarypartylocation_recid"]
