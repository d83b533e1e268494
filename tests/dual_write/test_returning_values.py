"""What the partner keeps, works out or shows because of a change comes back, so that both halves say the same."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.support.both_halves import BothHalves
from tests.support.choices import Seeded
from tests.support.oracle import Values
from tests.support.world import COMPANIES
from tests.support.writing import create, delete, update

ACCOUNTS, LEADS = "accounts - Customers V3", "leads - Prospects"
CONTACTS, ORDERS = "msdyn_partyelectronicaddresses - Party contacts V3", "salesorders - CDS sales order headers"
LINES = "salesorderdetails - CDS sales order lines"


async def new_record(both: BothHalves, name: str, half: Any, **values: Any) -> tuple[int, UUID]:
    """Create a generated record with some values of one's own; its ids on both halves."""
    maker = both.maker(name)
    company = COMPANIES[0] if maker.is_company_specific else None
    _, generated = both.generate(maker, half, Seeded(23), company, set())
    (row_id,) = await create(both.apps[half], both.name_on(half, maker.table_map), {**generated, **values})
    pair = await both.pair(maker.table_map, half, row_id)
    assert pair.record is not None and pair.row is not None
    return pair.record["recid"], pair.row[maker.table.primary_id]


async def stands(both: BothHalves, name: str, row_id: int | UUID) -> Values:
    found = await both.find(both.catalog.table_maps[name], row_id)
    assert found is not None
    return found


async def parties(both: BothHalves) -> list[tuple[str, UUID]]:
    """Numbers and ids of organizations that stand in the world."""
    rows = [(both.world.row("msdyn_party", row_id), row_id) for row_id in both.world.of("msdyn_party", None)]
    return [(row["msdyn_partynumber"], row_id) for row, row_id in rows if row["msdyn_partytype"] == 192350002]


async def test_a_value_that_the_partner_does_not_take_is_taken_back(both: BothHalves) -> None:
    """The only electronic address of its kind is primary, whatever is asked for."""
    recid, row_id = await new_record(both, CONTACTS, "finops", type=4, isprimary=1)
    await update(both.apps["dataverse"], "msdyn_partyelectronicaddress", {row_id: {"msdyn_isprimary": False}})
    assert (await stands(both, CONTACTS, recid))["isprimary"] == 1
    assert (await stands(both, CONTACTS, row_id))["msdyn_isprimary"] is True
    await delete(both.apps["finops"], "PartyContactV3Entity", recid)


async def test_a_customer_keeps_its_party(both: BothHalves) -> None:
    recid, row_id = await new_record(both, ACCOUNTS, "finops", partynumber="", organizationname="Litware")
    before = await stands(both, ACCOUNTS, recid)
    assert before["partynumber"]
    await update(both.apps["dataverse"], "account", {row_id: {"msdyn_partyid": None}})
    assert (await stands(both, ACCOUNTS, recid))["partynumber"] == before["partynumber"]
    await both.assert_equal(both.catalog.table_maps[ACCOUNTS], "dataverse", row_id)
    assert (await stands(both, ACCOUNTS, row_id))["msdyn_partyid"] is not None
    await update(both.apps["finops"], "CustCustomerV3Entity", {recid: {"partynumber": ""}})
    assert (await stands(both, ACCOUNTS, recid))["partynumber"] == before["partynumber"]
    await delete(both.apps["finops"], "CustCustomerV3Entity", recid)


async def test_another_party_brings_its_own_name_and_addresses(both: BothHalves) -> None:
    one, other = (await parties(both))[:2]
    recid, row_id = await new_record(both, LEADS, "finops", prospectpartynumber=one[0], primaryphonenumber="555-1")
    await update(both.apps["finops"], "smmProspectEntity", {recid: {"prospectpartynumber": other[0]}})
    await both.assert_equal(both.catalog.table_maps[LEADS], "finops", recid)
    assert (await stands(both, LEADS, row_id))["msdyn_partyid"] == other[1]
    assert (await stands(both, LEADS, row_id))["telephone1"] != "555-1"
    await update(both.apps["dataverse"], "lead", {row_id: {"msdyn_partyid": one[1]}})
    assert (await stands(both, LEADS, recid))["primaryphonenumber"] == "555-1"
    assert (await stands(both, LEADS, row_id))["telephone1"] == "555-1"
    await delete(both.apps["finops"], "smmProspectEntity", recid)


async def test_what_only_finops_tells_comes_back_to_a_new_row(both: BothHalves) -> None:
    """One-way rows: the text of a currency whose lookup was sent, and amounts that nobody has entered yet."""
    currency = both.world.of("transactioncurrency", None)[0]
    _, row_id = await new_record(both, ORDERS, "dataverse", transactioncurrencyid=currency)
    order = await stands(both, ORDERS, row_id)
    assert order["msdyn_isocurrencycode"] == both.world.row("transactioncurrency", currency)["isocurrencycode"]
    assert order["totalamount"] == 0
    await delete(both.apps["dataverse"], "salesorder", row_id)


async def test_a_lookup_is_carried_whole(both: BothHalves) -> None:
    """The published maps bring a category's name both ways and its hierarchy only from F&O: both belong together."""
    maker = both.maker(LINES)
    categories = both.world.of("msdyn_productcategory", None)
    recid, row_id = await new_record(both, LINES, "dataverse", msdyn_salesproductcategory=categories[0])
    await update(both.apps["dataverse"], "salesorderdetail", {row_id: {"msdyn_salesproductcategory": categories[-1]}})
    record = await stands(both, LINES, recid)
    rows = [row for row in maker.pairs if (row.dataverse or "").startswith("msdyn_salesproductcategory.")]
    assert len(rows) == 2
    for row in rows:
        expected = await both.oracle.to_finops(maker.table_map, row, await stands(both, LINES, row_id))
        assert record[(row.finops or "").lower()] == expected != ""
    await delete(both.apps["dataverse"], "salesorderdetail", row_id)


async def test_a_row_without_a_single_value_has_a_counterpart(both: BothHalves) -> None:
    name = "msdyn_postaladdresscollections - CDS postal address locations"
    (row_id,) = await create(both.apps["dataverse"], "msdyn_postaladdresscollection", {})
    pair = await both.assert_equal(both.catalog.table_maps[name], "dataverse", row_id)
    assert pair.row is not None and pair.row["msdyn_location"]
    await delete(both.apps["dataverse"], "msdyn_postaladdresscollection", row_id)


async def test_an_empty_choice_is_no_value_of_an_enum_without_zero(both: BothHalves) -> None:
    """HcmEmploymentStatus counts from 1: a position type need not say which."""
    name = "cdm_positiontypes - Position type"
    recid, row_id = await new_record(both, name, "dataverse", cdm_classification=None)
    assert (await stands(both, name, recid))["classification"] == 0
    assert (await stands(both, name, row_id))["cdm_classification"] is None
    await delete(both.apps["dataverse"], "cdm_positiontype", row_id)
