"""A row that several table maps lead to is deleted everywhere, whichever of them brings the delete."""

from __future__ import annotations

from tests.support.both_halves import BothHalves
from tests.support.choices import Seeded
from tests.support.writing import create, delete

CONTACTS = "contacts - CDS Contacts V2"


async def test_a_contact_takes_its_contact_for_a_party_along(both: BothHalves) -> None:
    maker = both.maker(CONTACTS)
    before = await both.dataverse.fetchval("select count(*) from dataverse.msdyn_contactforparty")
    _, values = both.generate(maker, "dataverse", Seeded(17), "usmf", await both.taken(maker))
    (contact,) = await create(both.apps["dataverse"], "contact", values)
    number = (await both.pair(maker.table_map, "dataverse", contact)).record["contactpersonid"]  # type: ignore[index]
    count = "select count(*) from dataverse.msdyn_contactforparty where lower(msdyn_contactforpartynumber) = lower($1)"
    assert await both.dataverse.fetchval(count, number) == 1
    await delete(both.apps["dataverse"], "contact", contact)
    assert (
        await both.finops.fetchval("select count(*) from finops.contactperson where contactpersonid = $1", number) == 0
    )
    assert await both.dataverse.fetchval(count, number) == 0
    assert await both.dataverse.fetchval("select count(*) from dataverse.msdyn_contactforparty") == before
