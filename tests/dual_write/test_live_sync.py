"""Live sync between the two apps: what crosses, what does not, and what a refusal leaves behind."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.support.writing import call, create, delete, update

from isthmus.apps.change import Operation
from isthmus.apps.message import Message
from isthmus.apps.pipeline import Stage, Step
from isthmus.dual_write.activity import ActivityFilter
from isthmus.environments.environment import Environment
from isthmus.errors import Rejected


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
        """select msdyn_customergroupid from dataverse.msdyn_customergroup
           where msdyn_groupid = '20' and msdyn_company = $1""",
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
    changed = {name for name in dict(after) if after[name] != before[name]}
    assert {"creditlimit", "versionnumber"} <= changed <= {"creditlimit", "versionnumber", "modifiedon", "modifiedby"}


async def test_unmapped_columns_stay_home(companies: Environment) -> None:
    await new_customer(companies, "C4")
    found = await account(companies, "C4")
    version = (await customer(companies, "C4"))["recversion"]
    await update(companies.dataverse_app, "account", {found["accountid"]: {"numberofemployees": 12}})
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


async def test_renamed_key_is_the_same_record_afterwards(companies: Environment) -> None:
    """A group whose name, its key, changes in Dataverse must not become a second one in F&O."""
    dataverse = companies.dataverse_app
    (group,) = await create(
        dataverse, "msdyn_salutation", {"msdyn_salutationphrase": "Dear R", **(await us(companies))}
    )
    sql = "select salutationphrase from finops.smmsalutationentity where salutationphrase like 'Dear R%'"
    assert [record[0] for record in await companies.finops_app.pool.origin.fetch(sql)] == ["Dear R"]
    with pytest.raises(Rejected, match="key"):
        await update(dataverse, "msdyn_salutation", {group: {"msdyn_salutationphrase": "Dear Ronald"}})
    assert [record[0] for record in await companies.finops_app.pool.origin.fetch(sql)] == ["Dear R"]


async def us(halves: Environment) -> dict[str, Any]:
    """The company column of a Dataverse row of the American company."""
    id_ = await halves.dataverse_app.pool.origin.fetchval(
        "select cdm_companyid from dataverse.cdm_company where cdm_companycode = 'USMF'"
    )
    return {"msdyn_company": id_}


async def test_refusal_leaves_both_halves_and_stands_in_the_activity_log(companies: Environment) -> None:
    """A customer group that stands only in Dataverse: written there before dual-write was on."""
    await new_customer(companies, "R1", creditlimit=Decimal(100))
    found = await account(companies, "R1")
    group = await companies.dataverse_app.pool.origin.fetchval(
        """insert into dataverse.msdyn_customergroup (msdyn_customergroupid, msdyn_groupid, msdyn_company)
           values (gen_random_uuid(), 'Ghost', $1) returning msdyn_customergroupid""",
        found["msdyn_company"],
    )
    with pytest.raises(Rejected) as refusal:
        await update(
            companies.dataverse_app,
            "account",
            {found["accountid"]: {"creditlimit": Decimal(200), "msdyn_customergroupid": group}},
        )
    assert refusal.value.details["half"] == "finops"
    assert refusal.value.details["table_map"] == "accounts - Customers V3"
    assert refusal.value.details["key"] == "r1, usmf"
    assert "Ghost" in refusal.value.message
    assert "Nothing was saved on either half" in refusal.value.message
    assert dict(await account(companies, "R1")) == dict(found)
    assert (await customer(companies, "R1"))["creditlimit"] == 100
    entry = (await companies.activity.entries(ActivityFilter(table_map="accounts - Customers V3"), limit=1))[0]
    assert (entry.kind, entry.refused_by, entry.record_key) == ("live_sync_error", "finops", "r1, usmf")
    assert entry.message == refusal.value.message


async def test_lookup_that_names_no_row_is_refused_with_its_value(companies: Environment) -> None:
    """A payment term that stands only in F&O: written there before dual-write was on."""
    await companies.finops_app.pool.origin.execute(
        "insert into finops.paymterm (recid, dataareaid, name) values (99, 'usmf', 'Lonely')"
    )
    with pytest.raises(Rejected, match=r"Unable to lookup msdyn_paymentterm with values .*Lonely"):
        await new_customer(companies, "L1", paymentterms="Lonely")
    assert await customer(companies, "L1") is None


async def test_company_rows_stay_apart(companies: Environment) -> None:
    await new_customer(companies, "Same", creditlimit=Decimal(1))
    await new_customer(companies, "Same", dataareaid="demf", creditlimit=Decimal(2))
    assert (await account(companies, "Same"))["creditlimit"] == 1
    assert (await account(companies, "Same", "demf"))["creditlimit"] == 2


async def test_row_without_company_stays_home(companies: Environment) -> None:
    (id_,) = await create(companies.dataverse_app, "account", {"name": "Homebody", "customertypecode": 3})
    count = "select count(*) from finops.custcustomerv3entity where organizationname = 'Homebody'"
    assert await companies.finops_app.pool.origin.fetchval(count) == 0
    await delete(companies.dataverse_app, "account", id_)


async def test_many_rows_are_one_batch_for_each_leg(companies: Environment) -> None:
    messages: list[tuple[str, int]] = []

    async def count(context: Any, message: Message) -> None:
        if context.is_partner and message.through is not None:
            messages.append((message.table, len(message.rows)))

    companies.dataverse_app.pipeline.register(Step(stage=Stage.PRE_VALIDATION, handler=count))
    await create(
        companies.finops_app,
        "CustCustomerV3Entity",
        *(
            {
                "dataareaid": "usmf",
                "customeraccount": f"B{number}",
                "organizationname": f"Batch {number}",
                "customergroupid": "10",
                "salescurrencycode": "USD",
                "invoiceaccount": f"B{(number + 1) % 30}",
            }
            for number in range(30)
        ),
    )
    assert sorted(messages) == [("account", 30), ("account", 30), ("msdyn_party", 30)]
    billed_to = await companies.dataverse_app.pool.origin.fetchval(
        """select b.accountnumber from dataverse.account a
           join dataverse.account b on b.accountid = a.msdyn_billingaccount where a.accountnumber = 'B29'"""
    )
    assert billed_to == "B0"


async def test_telephone_and_mail_of_the_customer_are_those_of_the_account(companies: Environment) -> None:
    recid = await new_customer(companies, "E1", primarycontactphone="+1 555 0100", primarycontactemail="a@b.example")
    found = await account(companies, "E1")
    assert (found["telephone1"], found["emailaddress1"]) == ("+1 555 0100", "a@b.example")
    changes = {"telephone1": "+1 555 0199", "websiteurl": "https://b.example"}
    await update(companies.dataverse_app, "account", {found["accountid"]: changes})
    there = await customer(companies, "E1")
    assert (there["primarycontactphone"], there["primarycontacturl"]) == ("+1 555 0199", "https://b.example")
    await update(companies.finops_app, "CustCustomerV3Entity", {recid: {"primarycontactemail": "c@b.example"}})
    assert (await account(companies, "E1"))["emailaddress1"] == "c@b.example"


async def test_value_that_dataverse_rounds_comes_back_rounded(companies: Environment) -> None:
    await new_customer(companies, "P1", creditlimit=Decimal("3.14159"))
    assert (await account(companies, "P1"))["creditlimit"] == Decimal("3.14")
    assert (await customer(companies, "P1"))["creditlimit"] == Decimal("3.14")


async def test_answer_shows_what_the_partner_made_of_it(companies: Environment) -> None:
    record = {
        "dataAreaId": "usmf",
        "CustomerAccount": "P2",
        "PartyType": "Organization",
        "OrganizationName": "Rounded",
        "CustomerGroupId": "10",
        "SalesCurrencyCode": "USD",
        "CreditLimit": 2.71828,
    }
    status, shown = await call(companies.finops, "POST", "/data/CustomersV3", record)
    assert (status, shown["CreditLimit"]) == (201, 2.72)


async def test_rules_that_contradict_each_other_are_refused(companies: Environment) -> None:
    """One half rounds the limit up to an even number, the other to an odd one: they would go on for ever."""
    await new_customer(companies, "N1", creditlimit=Decimal(10))
    found = await account(companies, "N1")
    quarrel = True

    def rounds_to(parity: int) -> Any:
        async def correct(context: Any, message: Message) -> None:
            for row in message.rows if quarrel else ():
                limit = row.values.get("creditlimit")
                if limit is not None and limit % 2 != parity:
                    row.values["creditlimit"] = limit + 1

        return correct

    for app, table, parity in (
        (companies.dataverse_app, "account", 0),
        (companies.finops_app, "CustCustomerV3Entity", 1),
    ):
        step = Step(stage=Stage.PRE_OPERATION, handler=rounds_to(parity), operation=Operation.UPDATE, table=table)
        app.pipeline.register(step)
    try:
        with pytest.raises(Rejected, match="did not agree"):
            await update(companies.dataverse_app, "account", {found["accountid"]: {"creditlimit": Decimal(20)}})
    finally:
        quarrel = False
    assert (await account(companies, "N1"))["creditlimit"] == (await customer(companies, "N1"))["creditlimit"] == 10
