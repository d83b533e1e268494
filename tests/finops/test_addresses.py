"""Places of a party, versions of an address, and the one that is primary."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.finops.conftest import CUSTOMERS, PARTIES, Create, Read, Write

from isthmus.apps.change import Operation
from isthmus.apps.message import Row
from isthmus.errors import Rejected
from isthmus.finops.addresses import ADDRESS_PARTS, formatted_address
from isthmus.finops.app import FinopsApp
from isthmus.finops.values import NEVER

PLACES = "DirPartyPostalAddressLocationCDSEntity"
LOCATIONS = "CDSPostalAddressLocationEntity"
HISTORY = "CDSPostalAddressHistoryV2Entity"
CONTACTS = "PartyContactV3Entity"
LAST_YEAR = datetime.now(UTC).replace(microsecond=0) - timedelta(days=365)


async def primaries(app: FinopsApp, table: str, party: int) -> list[int]:
    sql = f"select recid from finops.{table} where party = $1 and isprimary = 1 order by recid"
    return [record["recid"] for record in await app.pool.origin.fetch(sql, party)]


@pytest.fixture
def new_place(create: Create, read: Read) -> Create:
    """Give a party a place of its own; returns the RecId of the place."""

    async def run(party: int, **values: Any) -> int:
        location = (await read(LOCATIONS, await create(LOCATIONS, description="Place")))["locationid"]
        number = (await read(PARTIES, party))["partynumber"]
        return await create(PLACES, partynumber=number, locationid=location, **values)

    return run


async def test_the_first_place_of_a_party_is_primary_and_a_new_primary_takes_over(
    app: FinopsApp, create: Create, new_place: Create, read: Read, write: Write
) -> None:
    party = await create(PARTIES, partytype="Organization", organizationname="Places")
    first, second = await new_place(party=party), await new_place(party=party)
    assert await primaries(app, "dirpartylocation", party) == [first]

    changes = await write(Operation.UPDATE, PLACES, Row(id=second, values={"isprimary": 1}))
    assert await primaries(app, "dirpartylocation", party) == [second]
    given = {change.id: change.given for change in changes}
    assert given == {second: {"isprimary"}, first: set()}, "that the first is no longer primary was worked out here"

    assert await write(Operation.UPDATE, PLACES, Row(id=second, values={"isprimary": 0})) == []
    assert await primaries(app, "dirpartylocation", party) == [second], "somebody must be primary"

    await write(Operation.DELETE, PLACES, Row(id=second))
    assert await primaries(app, "dirpartylocation", party) == [first]


async def test_two_places_made_primary_at_once_leave_one(
    app: FinopsApp, create: Create, new_place: Create, write: Write
) -> None:
    party = await create(PARTIES, partytype="Organization", organizationname="Places")
    places = [await new_place(party=party) for _ in range(3)]
    await write(Operation.UPDATE, PLACES, *(Row(id=place, values={"isprimary": 1}) for place in places[1:]))
    assert await primaries(app, "dirpartylocation", party) == places[2:]


async def test_one_electronic_address_of_each_kind_is_primary(
    app: FinopsApp, create: Create, read: Read, write: Write
) -> None:
    party = await create(PARTIES, partytype="Organization", organizationname="Contacts")
    number = (await read(PARTIES, party))["partynumber"]
    phone = await create(CONTACTS, partynumber=number, type="Phone", locator="1")
    mail = await create(CONTACTS, partynumber=number, type="Email", locator="a@example.com")
    other = await create(CONTACTS, partynumber=number, type="Email", locator="b@example.com", isprimary=1)
    assert await primaries(app, "logisticselectronicaddress", party) == [phone, other]
    await write(Operation.DELETE, CONTACTS, Row(id=other))
    assert await primaries(app, "logisticselectronicaddress", party) == [phone, mail]


async def test_purpose_and_role_flags_keep_in_step(
    app: FinopsApp, create: Create, new_place: Create, write: Write, new_customer: Create, read: Read
) -> None:
    async def roles(place: int) -> tuple[Any, ...]:
        sql = "select purpose, isroleinvoice, isroledelivery from finops.dirpartylocation where recid = $1"
        return tuple(await app.pool.origin.fetchrow(sql, place))

    party = await create(PARTIES, partytype="Organization", organizationname="Roles")
    place = await new_place(party=party, purpose="Invoice; Lock box")
    assert await roles(place) == ("Invoice;Lock box", 1, 0)
    await write(Operation.UPDATE, PLACES, Row(id=place, values={"purpose": "Delivery"}))
    assert await roles(place) == ("Delivery", 0, 1)

    customer = await read(CUSTOMERS, await new_customer(deliveryaddresscity="Pisa"))
    assert await roles(customer["deliverypartylocation_recid"]) == ("Delivery", 0, 1)


async def test_a_new_version_ends_the_one_before_it(create: Create, read: Read, new_customer: Create) -> None:
    customer = await read(CUSTOMERS, await new_customer(addresscity="Old", addressvalidfrom=LAST_YEAR))
    location = customer["addresslocationid"]
    recid = await create(HISTORY, locationid=location, city="New", street="2 Road")
    new, old = await read(HISTORY, recid), await read(HISTORY, customer["primaryaddress_recid"])
    assert old["validto"] == new["validfrom"]
    assert new["validto"] == NEVER
    assert (await read(CUSTOMERS, customer["recid"]))["addresscity"] == "New"


async def test_a_version_of_the_past_ends_where_the_next_begins(
    create: Create, read: Read, new_customer: Create
) -> None:
    customer = await read(CUSTOMERS, await new_customer(addresscity="Now"))
    recid = await create(HISTORY, locationid=customer["addresslocationid"], city="Then", validfrom=LAST_YEAR)
    assert (await read(HISTORY, recid))["validto"] == customer["addressvalidfrom"]
    assert (await read(CUSTOMERS, customer["recid"]))["addresscity"] == "Now"


async def test_a_version_of_the_future_does_not_show_yet(create: Create, read: Read, new_customer: Create) -> None:
    customer = await read(CUSTOMERS, await new_customer(addresscity="Now"))
    future = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
    await create(HISTORY, locationid=customer["addresslocationid"], city="Later", validfrom=future)
    seen = await read(CUSTOMERS, customer["recid"])
    assert (seen["addresscity"], seen["addressvalidto"]) == ("Now", future)


async def test_a_validity_that_ends_before_it_begins_is_refused(create: Create) -> None:
    location = await create(LOCATIONS, locationid="REVERSED")
    assert location
    with pytest.raises(Rejected) as refused:
        await create(HISTORY, locationid="REVERSED", city="X", validto=LAST_YEAR)
    assert refused.value.code == "validity_reversed"


async def test_the_address_as_text_follows_its_parts(new_customer: Create, read: Read, write: Write) -> None:
    recid = await new_customer(addressstreet="1 Main Street", addresscity="Seattle", addressstate="WA")
    customer = await read(CUSTOMERS, recid)
    address = customer["primaryaddress_recid"]
    assert (await read(HISTORY, address))["address"] == "1 Main Street\nSeattle, WA"
    await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={"addresszipcode": "98052"}))
    assert (await read(HISTORY, address))["address"] == "1 Main Street\nSeattle, WA 98052"


def test_formatted_address() -> None:
    nothing = dict.fromkeys(ADDRESS_PARTS, "")
    assert formatted_address(nothing) == ""
    parts = {**nothing, "street": "Hauptstr.", "streetnumber": "7", "zipcode": "10115", "countryregionid": "DEU"}
    assert formatted_address(parts) == "Hauptstr. 7\n10115\nDEU"


async def test_a_location_with_places_stays(create: Create, new_place: Create, read: Read, write: Write) -> None:
    party = await create(PARTIES, partytype="Organization", organizationname="Places")
    place = await read(PLACES, await new_place(party=party))
    with pytest.raises(Exception, match="DirPartyLocation"):
        await write(Operation.DELETE, LOCATIONS, Row(id=place["location_recid"]))
    await create(HISTORY, locationid=place["locationid"], city="Gone")
    await write(Operation.DELETE, PLACES, Row(id=place["recid"]))
    changes = await write(Operation.DELETE, LOCATIONS, Row(id=place["location_recid"]))
    assert [change.table for change in changes] == ["LogisticsPostalAddress", "LogisticsLocation"]
