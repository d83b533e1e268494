"""What a party's type and names are when nobody says, and what may not become of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.finops.conftest import CUSTOMERS, PARTIES, Create, Read, Write

from isthmus.apps.change import Operation
from isthmus.apps.message import Row
from isthmus.errors import Rejected


@pytest.mark.parametrize(
    ("entity", "given", "expected"),
    [
        (CUSTOMERS, {"organizationname": "Firm"}, "Organization"),
        (CUSTOMERS, {"organizationname": "", "personfirstname": "Ann"}, "Person"),
        (CUSTOMERS, {"organizationname": "Firm", "personlastname": "Beebe"}, "Organization"),
        (CUSTOMERS, {"organizationname": "", "partytype": "PERSON"}, "Person"),
        ("OMLegalEntity", {"legalentityid": "PTYA", "name": "Legal"}, "LegalEntity"),
        ("HcmWorkerEntity", {"firstname": "Jo", "lastname": "Berry"}, "Person"),
    ],
)
async def test_type_of_a_new_party(
    entity: str, given: dict[str, Any], expected: str, create: Create, new_customer: Create, read: Read
) -> None:
    recid = await new_customer(**given) if entity == CUSTOMERS else await create(entity, **given)
    assert (await read(PARTIES, (await read(entity, recid))["party_recid"]))["partytype"] == expected


async def test_the_type_stays(new_customer: Create, write: Write) -> None:
    recid = await new_customer()
    assert await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={"partytype": "organization"})) == []
    with pytest.raises(Rejected) as refused:
        await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={"partytype": "Person"}))
    assert refused.value.code == "party_type_not_editable"


async def test_an_unknown_type_is_refused(new_customer: Create) -> None:
    with pytest.raises(Rejected) as refused:
        await new_customer(partytype="Robot")
    assert refused.value.code == "party_type_not_found"


async def test_a_type_given_in_other_case_counts_as_given(write: Write) -> None:
    row = Row(values={"partytype": "person", "personfirstname": "Ann"})
    (change,) = await write(Operation.CREATE, PARTIES, row)
    assert change.after is not None and change.after["partytype"] == "Person"
    assert "partytype" in change.given


async def test_a_persons_name_follows_its_parts(create: Create, read: Read, write: Write) -> None:
    recid = await create(PARTIES, partytype="Person", personfirstname="Ann", personlastname="Beebe")
    assert (await read(PARTIES, recid))["organizationname"] == "Ann Beebe"
    await write(Operation.UPDATE, PARTIES, Row(id=recid, values={"personmiddlename": "M."}))
    party = await read(PARTIES, recid)
    assert (party["organizationname"], party["namealias"]) == ("Ann M. Beebe", "Ann Beebe")


async def test_an_organizations_name_is_its_own(create: Create, read: Read) -> None:
    recid = await create(PARTIES, partytype="Organization", organizationname="Firm", personfirstname="Ann")
    party = await read(PARTIES, recid)
    assert (party["organizationname"], party["namealias"], party["languageid"]) == ("Firm", "Firm", "en-us")


async def test_a_persons_name_is_cut_where_the_table_ends(create: Create, read: Read) -> None:
    recid = await create(PARTIES, partytype="Person", personfirstname="A" * 60, personlastname="B" * 60)
    assert (await read(PARTIES, recid))["organizationname"] == "A" * 60 + " " + "B" * 39
