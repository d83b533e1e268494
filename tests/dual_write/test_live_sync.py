"""Live sync between the two apps: what crosses, what does not, and what a refusal leaves behind."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from isthmus.environments.environment import Environment
from tests.support.writing import create, delete, update


@pytest.fixture(scope="session")
async def companies(halves: Environment) -> Environment:
    """Two legal entities with currency and customer group, made on the F&O half."""
    finops = halves.finops_app
    await create(finops, "CurrencyEntity", {"currencycode": "USD", "name": "US dollar", "symbol": "$"})
    await create(
        finops,
        "OMLegalEntity",
        {"legalentityid": "USMF", "name": "Contoso Entertainment USA"},
        {"legalentityid": "DEMF", "name": "Contoso Entertainment Germany"},
    )
    for company in ("usmf", "demf"):
        await create(
            finops,
            "CustCustomerGroupEntity",
            {"dataareaid": company, "customergroupid": "10", "description": "Wholesale"},
            {"dataareaid": company, "customergroupid": "20", "description": "Retail"},
        )
    return halves


async def account(halves: Environment, number: str, company: str = "usmf") -> Any:
    """The account of a customer, with its natural keys."""
    return await halves.dataverse_app.pool.origin.fetchrow(
        """select a.*, g.msdyn_groupid, p.msdyn_partynumber, p.msdyn_organizationname, u.isocurrencycode
           from dataverse.account a
           join dataverse.cdm_company c on c.cdm_companyid = a.msdyn_company
           left join dataverse.msdyn_customergroup g on g.msdyn_customergroupid = a.msdyn_customergroupid
           left join dataverse.msdyn_party p on p.msdyn_partyid = a.msdyn_partyid
           left join dataverse.transactioncurrency u on u.transactioncurrencyid = a.transactioncurrencyid
           where a.accountnumber = $1 and lower(c.cdm_companycode) = $2""",
        number,
        company,
    )


async def customer(halves: Environment, number: str, company: str = "usmf") -> Any:
    """The customer of an account."""
    return await halves.finops_app.pool.origin.fetchrow(
        "select * from finops.custcustomerv3entity where customeraccount = $1 and dataareaid = $2", number, company
    )


async def new_customer(halves: Environment, number: str, **values: Any) -> int:
    (recid,) = await create(
        halves.finops_app,
        "CustCustomerV3Entity",
        {
            "dataareaid": "usmf",
            "customeraccount": number,
            "organizationname": "Adventure Works",
            "partytype": "Organization",
            "customergroupid": "10",
            "salescurrencycode": "USD",
            **values,
        },
    )
    return recid


async def test_customer_becomes_an_account_with_its_party(companies: Environment) -> None:
    await new_customer(companies, "C1", creditlimit=Decimal(2000), isonetimecustomer=1)
    found = await account(companies, "C1")
    assert found["creditlimit"] == 2000
    assert found["msdyn_groupid"] == "10"
    assert found["isocurrencycode"] == "USD"
    assert found["msdyn_onetimecustomer"] is True
    assert found["customertypecode"] == 3
    assert found["name"] == found["msdyn_organizationname"] == "Adventure Works"
    assert found["msdyn_partynumber"] == (await customer(companies, "C1"))["partynumber"] != ""


async def test_account_becomes_a_customer_and_gets_what_finops_gives(companies: Environment) -> None:
    dataverse = companies.dataverse_app
    company = await dataverse.pool.origin.fetchval(
        "select cdm_companyid from dataverse.cdm_company where cdm_companycode = 'USMF'"
    )
    group = await dataverse.pool.origin.fetchval(
        "select msdyn_customergroupid from dataverse.msdyn_customergroup where msdyn_groupid = '20' and msdyn_company = $1",
        company,
    )
    currency = await dataverse.pool.origin.fetchval("select transactioncurrencyid from dataverse.transactioncurrency")
    (id_,) = await create(
        dataverse,
        "account",
        {
            "name": "Fabrikam",
            "customertypecode": 3,
            "msdyn_company": company,
            "msdyn_customergroupid": group,
            "transactioncurrencyid": currency,
            "creditlimit": Decimal(700),
        },
    )
    number = await dataverse.pool.origin.fetchval(
        "select accountnumber from dataverse.account where accountid = $1", id_
    )
    assert number, "the account number comes from F&O's number sequence, in the same transaction"
    found = await customer(companies, number)
    assert (found["organizationname"], found["customergroupid"], found["creditlimit"]) == ("Fabrikam", "20", 700)
    assert (await account(companies, number))["msdyn_partynumber"] == found["partynumber"] != ""
    assert await dataverse.pool.origin.fetchval("select count(*) from dataverse.account where name = 'Fabrikam'") == 1


async def test_credit_limit_crosses_both_ways_and_nothing_else_changes(companies: Environment) -> None:
    recid = await new_customer(companies, "C3", creditlimit=Decimal(2000))
    before = await account(companies, "C3")
    await update(companies.dataverse_app, "account", {before["accountid"]: {"creditlimit": Decimal(5000)}})
    assert (await customer(companies, "C3"))["creditlimit"] == 5000
    await update(companies.finops_app, "CustCustomerV3Entity", {recid: {"creditlimit": Decimal(6000)}})
    after = await account(companies, "C3")
    changed = {name for name in after.keys() if after[name] != before[name]}
    assert {"creditlimit", "versionnumber"} <= changed <= {"creditlimit", "versionnumber", "modifiedon", "modifiedby"}


async def test_unmapped_columns_stay_home(companies: Environment) -> None:
    await new_customer(companies, "C4")
    found = await account(companies, "C4")
    version = (await customer(companies, "C4"))["recversion"]
    await update(companies.dataverse_app, "account", {found["accountid"]: {"websiteurl": "https://example.com"}})
    assert (await customer(companies, "C4"))["recversion"] == version


async def test_delete_crosses(companies: Environment) -> None:
    recid = await new_customer(companies, "C5")
    await delete(companies.finops_app, "CustCustomerV3Entity", recid)
    assert await account(companies, "C5") is None


async def test_address_of_the_customer_is_the_address_of_the_account(companies: Environment) -> None:
    recid = await new_customer(
        companies,
        "C6",
        invoiceaddressstreet="1 Main St",
        invoiceaddresscity="Seattle",
        invoiceaddresscountryregionid="USA",
    )
    found = await account(companies, "C6")
    assert (found["address1_line1"], found["address1_city"]) == ("1 Main St", "Seattle")
    await update(
        companies.dataverse_app,
        "account",
        {found["accountid"]: {"address1_line1": "2 Pike St", "address2_line1": "9 Dock Rd"}},
    )
    there = await customer(companies, "C6")
    assert (there["invoiceaddressstreet"], there["deliveryaddressstreet"]) == ("2 Pike St", "9 Dock Rd")
    await update(companies.finops_app, "CustCustomerV3Entity", {recid: {"deliveryaddressstreet": "10 Dock Rd"}})
    assert (await account(companies, "C6"))["address2_line1"] == "10 Dock Rd"
