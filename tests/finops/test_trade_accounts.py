"""Customers and vendors: defaults of group and company, and references that must be there."""

from __future__ import annotations

from typing import Any

import pytest
from tests.finops.conftest import CUSTOMERS, GROUPS, TERMS, VENDORS, Create, Read, Write

from isthmus.apps.change import Operation
from isthmus.apps.message import Row
from isthmus.errors import Conflict, Rejected
from isthmus.finops.app import FinopsApp


async def test_a_new_customer_takes_terms_from_its_group_and_currency_from_its_company(
    new_customer: Create, read: Read, write: Write
) -> None:
    recid = await new_customer(customergroupid="10")
    customer = await read(CUSTOMERS, recid)
    assert (customer["paymentterms"], customer["salescurrencycode"]) == ("Net30", "USD")
    await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={"paymentterms": ""}))
    assert (await read(CUSTOMERS, recid))["paymentterms"] == "", "defaults are for new customers"


async def test_what_is_given_counts_before_defaults(new_customer: Create, create: Create, read: Read) -> None:
    await create(TERMS, dataareaid="usmf", name="Own", numberofdays=1)
    customer = await read(
        CUSTOMERS, await new_customer(customergroupid="10", paymentterms="Own", salescurrencycode="EUR")
    )
    assert (customer["paymentterms"], customer["salescurrencycode"]) == ("Own", "EUR")


async def test_a_company_without_ledger_has_no_currency_to_give(new_customer: Create) -> None:
    with pytest.raises(Rejected) as refused:
        await new_customer(dataareaid="demf", customergroupid="10")
    assert (refused.value.code, refused.value.details["field"]) == ("mandatory_field_missing", "SalesCurrencyCode")


async def test_a_new_vendor_takes_the_currency_of_its_company(create: Create, read: Read) -> None:
    recid = await create(VENDORS, dataareaid="usmf", vendorgroupid="10", vendororganizationname="Vendor")
    vendor = await read(VENDORS, recid)
    assert (vendor["currencycode"], vendor["vendoraccountnumber"][:2]) == ("USD", "V-")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("customergroupid", "30"),
        ("salescurrencycode", "XXX"),
        ("paymentterms", "Net14"),
        ("paymentmethod", "Barter"),
        ("salestaxgroup", "None"),
        ("invoiceaccount", "Nobody"),
    ],
)
async def test_a_reference_must_be_there_and_in_the_same_company(new_customer: Create, field: str, value: str) -> None:
    with pytest.raises(Rejected) as refused:
        await new_customer(**{field: value})
    assert refused.value.code == "reference_not_found"
    assert refused.value.details["field"].lower() == field
    assert f"'{value}'" in refused.value.message


async def test_references_compare_without_case_and_empty_is_none(new_customer: Create, write: Write) -> None:
    recid = await new_customer(paymentterms="NET30")
    await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={"paymentterms": ""}))


async def test_a_customer_of_the_same_message_can_be_the_invoice_account(write: Write) -> None:
    values: dict[str, Any] = {"dataareaid": "usmf", "customergroupid": "20", "organizationname": "Pair"}
    rows = [
        Row(values={**values, "customeraccount": "PAIR-1", "invoiceaccount": "PAIR-2"}),
        Row(values={**values, "customeraccount": "PAIR-2"}),
    ]
    await write(Operation.CREATE, CUSTOMERS, *rows)


async def test_a_group_in_use_stays(create: Create, new_customer: Create, write: Write) -> None:
    group = await create(GROUPS, dataareaid="usmf", customergroupid="USED")
    customer = await new_customer(customergroupid="used")
    with pytest.raises(Conflict) as refused:
        await write(Operation.DELETE, GROUPS, Row(id=group))
    assert refused.value.code == "in_use"
    await write(Operation.DELETE, CUSTOMERS, Row(id=customer))
    await write(Operation.DELETE, GROUPS, Row(id=group))


async def test_a_credit_limit_below_zero_is_refused(new_customer: Create, write: Write) -> None:
    recid = await new_customer(creditlimit=0)
    with pytest.raises(Rejected) as refused:
        await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={"creditlimit": -1}))
    assert (refused.value.code, refused.value.details["field"]) == ("value_out_of_range", "CreditLimit")


def test_every_listed_reference_names_fields_that_exist(app: FinopsApp) -> None:
    from isthmus.finops import customers, vendors

    for table, column, entity, field in (*customers.REFERENCES, *vendors.REFERENCES):
        assert column in app.catalog.finops_tables[table].field
        assert field.lower() in app.catalog.entities[entity].field
        assert (table, column) in app.references.of
