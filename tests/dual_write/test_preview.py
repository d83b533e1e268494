"""Preview: it says what live sync then does, both ways, of saved and unsaved versions, and writes nothing."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from tests.support.own_environment import new_customer, own_environment
from tests.support.writing import create, update

from isthmus import solutions
from isthmus.dual_write.edits import ChangeRow, RemoveRow, SetProperty, edited
from isthmus.dual_write.preview import Preview, Previewer, PreviewValue
from isthmus.environments.environment import Environment
from isthmus.errors import NotFound, Rejected
from isthmus.metadata.table_map import TableMap

CATALOG = solutions.catalog()
ACCOUNTS = CATALOG.table_maps["accounts - Customers V3"]
GROUPS = CATALOG.table_maps["msdyn_customergroups - Customer groups"]
COMPANIES = CATALOG.table_maps["cdm_companies - Legal entities"]

numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def environment(
    templates: dict[str, str], new_database: Callable[..., Awaitable[str]]
) -> AsyncIterator[Environment]:
    async with own_environment(templates, new_database) as environment:
        yield environment


@pytest.fixture(scope="session")
async def previewer(environment: Environment) -> Previewer:
    return Previewer(environment.dataverse_app.pool, environment.finops_app.pool, CATALOG)


def value(preview: Preview, destination: str) -> PreviewValue:
    return next(each for each in preview.values if each.destination.lower() == destination.lower())


def row_of(table_map: TableMap, finops: str) -> int:
    return next(row.row for row in table_map.rows if row.finops == finops)


async def account_of(environment: Environment, number: str) -> Any:
    return await environment.dataverse_app.pool.origin.fetchrow(
        "select * from dataverse.account where accountnumber = $1", number
    )


async def test_record_that_both_halves_agree_about_is_unchanged(environment: Environment, previewer: Previewer) -> None:
    number = f"P{next(numbers)}"
    recid = await new_customer(environment, number, isonetimecustomer=1)
    found = await previewer.preview(ACCOUNTS, "finops", recid)
    assert (found.outcome, found.why, found.company, found.key) == (
        "unchanged",
        None,
        "usmf",
        f"{number.lower()}, usmf",
    )
    assert found.target == (await account_of(environment, number))["accountid"]
    once = value(found, "msdyn_onetimecustomer")
    assert (once.given, once.becomes, once.stands, once.differs) == ("1", "true", "true", False)
    group = value(found, "msdyn_customergroupid.msdyn_groupid")
    assert (group.given, group.becomes, group.stands) == ("10", "10", "10")
    assert not any(each.differs for each in found.values)


async def test_the_way_back_says_the_same(environment: Environment, previewer: Previewer) -> None:
    number = f"P{next(numbers)}"
    recid = await new_customer(environment, number)
    account = await account_of(environment, number)
    found = await previewer.preview(ACCOUNTS, "dataverse", account["accountid"])
    assert (found.outcome, found.target) == ("unchanged", recid)
    limit = value(found, "CREDITLIMIT")
    assert (limit.source, limit.given, limit.becomes, limit.stands) == ("creditlimit", "100", "100", "100")


@pytest.mark.parametrize("half", ["finops", "dataverse"])
async def test_record_is_found_by_id_as_text_and_by_key(
    environment: Environment, previewer: Previewer, half: Any
) -> None:
    number = f"P{next(numbers)}"
    recid = await new_customer(environment, number)
    account = await account_of(environment, number)
    record = recid if half == "finops" else account["accountid"]
    for named in (str(record), f"{number}, USMF", f"{number.lower()},usmf"):
        assert (await previewer.preview(ACCOUNTS, half, named)).id == record
    for unknown in ("NOSUCH, usmf", 5, "5"):
        with pytest.raises(NotFound) as refused:
            await previewer.preview(ACCOUNTS, half, unknown)
        assert refused.value.code == "record_not_found"


async def test_what_stopped_live_sync_left_behind_is_shown(environment: Environment, previewer: Previewer) -> None:
    states = environment.dual_write.states
    recid = await new_customer(environment, f"P{next(numbers)}")
    await states.change([ACCOUNTS.name], "not_running", by="test")
    await update(
        environment.finops_app, "CustCustomerV3Entity", {recid: {"creditlimit": Decimal(250), "customergroupid": "20"}}
    )
    new = await new_customer(environment, f"P{next(numbers)}")
    changed = await previewer.preview(ACCOUNTS, "finops", recid)
    assert changed.outcome == "update"
    assert {each.destination for each in changed.values if each.differs} == {
        "creditlimit",
        "msdyn_customergroupid.msdyn_groupid",
    }
    assert (value(changed, "creditlimit").becomes, value(changed, "creditlimit").stands) == ("250", "100")
    created = await previewer.preview(ACCOUNTS, "finops", new)
    assert (created.outcome, created.target) == ("create", None)
    assert value(created, "creditlimit").stands is None
    await states.change([ACCOUNTS.name], "running", by="test")


async def test_unsaved_version_shows_what_it_would_do(environment: Environment, previewer: Previewer) -> None:
    number = f"P{next(numbers)}"
    recid = await new_customer(environment, number, knownas="ace")
    edit = ChangeRow(
        row=row_of(ACCOUNTS, "CREDITLIMIT"),
        to=["CREDITLIMIT", ">>", "creditlimit", {"to_dataverse": "CREDITLIMIT * 2 + length(KNOWNAS)"}],
    )
    unsaved = edited(ACCOUNTS, [edit])
    found = await previewer.preview(unsaved, "finops", recid)
    limit = value(found, "creditlimit")
    assert (limit.becomes, limit.stands, limit.differs) == ("203", "100", True)
    assert found.outcome == "update"
    removed = edited(ACCOUNTS, [RemoveRow(row=row_of(ACCOUNTS, "CREDITLIMIT"))])
    assert "creditlimit" not in {
        each.destination for each in (await previewer.preview(removed, "finops", recid)).values
    }
    filtered = edited(ACCOUNTS, [SetProperty(finops_filter='(CustomerAccount == "none")')])
    left_out = await previewer.preview(filtered, "finops", recid)
    assert left_out.outcome == "left_out"
    assert left_out.why is not None and 'CustomerAccount == "none"' in left_out.why
    with pytest.raises(Rejected) as refused:
        await previewer.preview(edited(ACCOUNTS, [SetProperty(finops_filter="((")]), "finops", recid)
    assert refused.value.code == "table_map_invalid"


async def test_value_without_counterpart_and_lookup_without_row_are_named(
    environment: Environment, previewer: Previewer
) -> None:
    number = f"P{next(numbers)}"
    recid = await new_customer(environment, number, isonetimecustomer=1)
    row = row_of(ACCOUNTS, "ISONETIMECUSTOMER")
    narrow = edited(
        ACCOUNTS,
        [ChangeRow(row=row, to=["ISONETIMECUSTOMER", "><", "msdyn_onetimecustomer", {"value_map": {"No": "false"}}])],
    )
    found = await previewer.preview(narrow, "finops", recid)
    once = value(found, "msdyn_onetimecustomer")
    assert (found.outcome, once.becomes, once.fault) == ("refused", None, "IsOneTimeCustomer=1")
    states = environment.dual_write.states
    await states.change([GROUPS.name], "not_running", by="test")
    await create(
        environment.finops_app,
        "CustCustomerGroupEntity",
        {"dataareaid": "usmf", "customergroupid": number, "description": "x"},
    )
    await states.change([ACCOUNTS.name], "not_running", by="test")
    await update(environment.finops_app, "CustCustomerV3Entity", {recid: {"customergroupid": number}})
    found = await previewer.preview(ACCOUNTS, "finops", recid)
    group = value(found, "msdyn_customergroupid.msdyn_groupid")
    assert (found.outcome, group.finds_nothing, group.becomes, group.stands) == ("refused", True, number, "10")
    await states.change([ACCOUNTS.name, GROUPS.name], "running", by="test")


async def test_one_way_map_has_nothing_to_show_the_other_way(environment: Environment, previewer: Previewer) -> None:
    with pytest.raises(Rejected) as refused:
        await previewer.preview(COMPANIES, "dataverse", "usmf")
    assert refused.value.code == "direction_not_mapped"


async def test_nothing_is_written(environment: Environment, previewer: Previewer) -> None:
    number = f"P{next(numbers)}"
    recid = await new_customer(environment, number)
    row = row_of(ACCOUNTS, "CREDITLIMIT")
    other = edited(ACCOUNTS, [ChangeRow(row=row, to=["CREDITLIMIT", ">>", "creditlimit", {"to_dataverse": "1"}])])
    account = await account_of(environment, number)
    record = "select * from finops.custtable where accountnum = $1"
    customer = await environment.finops_app.pool.origin.fetchrow(record, number)
    assert (await previewer.preview(other, "finops", recid)).outcome == "update"
    await previewer.preview(ACCOUNTS, "dataverse", account["accountid"])
    assert await account_of(environment, number) == account
    assert await environment.finops_app.pool.origin.fetchrow(record, number) == customer


@pytest.mark.parametrize("table_map", CATALOG.table_maps.values(), ids=lambda each: each.name)
async def test_every_map_can_be_previewed(environment: Environment, previewer: Previewer, table_map: TableMap) -> None:
    for half in ("finops", "dataverse"):
        with pytest.raises((NotFound, Rejected)) as refused:
            await previewer.preview(table_map, half, "nosuchkey")  # type: ignore[arg-type]
        assert refused.value.code in ("record_not_found", "direction_not_mapped")
