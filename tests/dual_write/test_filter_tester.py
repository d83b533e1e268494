"""The filter tester: what passes on each half, and each condition of a filter asked of one record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from tests.support.own_environment import new_customer, own_environment
from tests.support.writing import create

from isthmus import solutions
from isthmus.dataverse.relations import relation as table_relation
from isthmus.dual_write.edits import SetProperty, edited
from isthmus.dual_write.filter_tester import FilterTester
from isthmus.dual_write.filter_words import condition_text
from isthmus.environments.environment import Environment
from isthmus.errors import NotFound, Rejected
from isthmus.finops.relations import relation as entity_relation
from isthmus.metadata.table_map import TableMap
from isthmus.query.odata import parse_filter
from isthmus.query.ranges import parse_range

CATALOG = solutions.catalog()
ACCOUNTS = CATALOG.table_maps["accounts - Customers V3"]


@pytest.fixture(scope="session")
async def environment(
    templates: dict[str, str], new_database: Callable[..., Awaitable[str]]
) -> AsyncIterator[Environment]:
    async with own_environment(templates, new_database) as environment:
        for number, limit in (("F1", 100), ("F2", 5000), ("F3", 0)):
            await new_customer(environment, number, creditlimit=Decimal(limit))
        await create(environment.dataverse_app, "account", {"name": "A prospect, no customer"})
        yield environment


@pytest.fixture(scope="session")
async def tester(environment: Environment) -> FilterTester:
    return FilterTester(environment.dataverse_app.pool, environment.finops_app.pool, CATALOG)


def with_filters(finops: str | None = None, dataverse: str | None = None) -> TableMap:
    return edited(ACCOUNTS, [SetProperty(finops_filter=finops, dataverse_filter=dataverse)])


async def account(environment: Environment, number: str) -> Any:
    return await environment.dataverse_app.pool.origin.fetchval(
        "select accountid from dataverse.account where accountnumber = $1", number
    )


async def test_both_halves_are_counted_with_examples(environment: Environment, tester: FilterTester) -> None:
    found = await tester.matching(ACCOUNTS, "finops")
    assert (found.records, found.passes, found.filter) == (3, 3, '((PartyType == "Organization"))')
    assert [each.key for each in found.passing] == ["f1, usmf", "f2, usmf", "f3, usmf"]
    found = await tester.matching(ACCOUNTS, "dataverse")
    assert (found.records, found.passes, found.filter) == (4, 3, "customertypecode eq 3")
    assert {each.id for each in found.passing} == {await account(environment, number) for number in ("F1", "F2", "F3")}
    (failing,) = found.failing
    assert failing.key is None


async def test_unsaved_filter_is_tried(tester: FilterTester) -> None:
    found = await tester.matching(with_filters(finops="(CreditLimit > 50) && (CreditLimit < 1000)"), "finops")
    assert [each.key for each in found.passing] == ["f1, usmf"]
    found = await tester.matching(with_filters(dataverse=""), "dataverse")
    assert (found.records, found.passes) == (4, 4)
    with pytest.raises(Rejected):
        await tester.matching(with_filters(finops="(("), "finops")


@pytest.mark.parametrize(
    "text",
    ["primarycontactid/fullname eq 'x'", "contact_customer_accounts/any(o:o/fullname eq 'x')"],
    ids=["path", "collection"],
)
async def test_a_filter_that_leads_to_another_table_is_refused(tester: FilterTester, text: str) -> None:
    table_map = with_filters(dataverse=text)
    for asked in (tester.matching(table_map, "dataverse"), tester.explain(table_map, "dataverse", "F1, usmf")):
        with pytest.raises(Rejected, match="only 'account' itself can be asked about here"):
            await asked


async def test_each_condition_is_asked_of_the_record(environment: Environment, tester: FilterTester) -> None:
    text = '((CreditLimit > 50) && (CustomerGroupId == "20")) || (!(PartyType == "Organization"))'
    found = await tester.explain(with_filters(finops=text), "finops", "F1, usmf")
    assert (found.holds, found.how, len(found.parts)) == (False, "or", 2)
    both, negated = found.parts
    assert [(part.text, part.holds) for part in both.parts] == [
        ("CreditLimit > 50", True),
        ('CustomerGroupId == "20"', False),
    ]
    assert both.parts[1].values == {"CustomerGroupId": "10"}
    assert (negated.how, negated.holds, negated.parts[0].holds) == ("not", False, True)
    same = await tester.explain(
        with_filters(dataverse="creditlimit gt 50 and not contains(name,'Works')"),
        "dataverse",
        await account(environment, "F1"),
    )
    assert [(part.text, part.holds) for part in same.parts] == [
        ("creditlimit gt 50", True),
        ("not (contains(name,'Works'))", False),
    ]


async def test_choices_and_enums_show_their_labels(environment: Environment, tester: FilterTester) -> None:
    found = await tester.explain(ACCOUNTS, "dataverse", await account(environment, "F1"))
    assert found.values == {"customertypecode": "3 (Customer)"}
    found = await tester.explain(with_filters(finops="(IsOneTimeCustomer == NoYes::No)"), "finops", "F1,usmf")
    assert found.values == {"IsOneTimeCustomer": "0 (No)"}


@pytest.mark.parametrize(
    ("half", "text", "holds", "said"),
    [
        ("dataverse", "description eq 'x'", False, "null is neither equal"),
        ("dataverse", "description ne 'x'", True, "null is different from every value"),
        ("dataverse", "description eq ''", True, "stores the empty text as null"),
        ("dataverse", "description ne null", False, "stores the empty text as null"),
        ("dataverse", "name eq 'Adventure Works'", True, None),
        ("finops", '(SalesMemo == "x")', False, "Dataverse shows as null"),
        ("finops", '(SalesMemo == "")', True, "F&O has no null"),
        ("finops", '(SalesMemo != "")', False, "F&O has no null"),
        ("finops", '(CustomerGroupId like "1*")', True, None),
    ],
)
async def test_null_and_empty_text_are_explained(
    tester: FilterTester, half: Any, text: str, holds: bool, said: str | None
) -> None:
    filters = with_filters(finops=text) if half == "finops" else with_filters(dataverse=text)
    found = await tester.explain(filters, half, "F1, usmf")
    assert found.holds is holds
    assert (found.note is None) if said is None else (found.note is not None and said in found.note), found


async def test_without_filter_every_record_passes_and_unknown_records_are_named(tester: FilterTester) -> None:
    found = await tester.explain(with_filters(finops=""), "finops", "F1, usmf")
    assert (found.holds, found.parts) == (True, ())
    with pytest.raises(NotFound):
        await tester.explain(ACCOUNTS, "finops", "F9, usmf")


FILTERED = [each for each in CATALOG.table_maps.values() if each.finops_filter or each.dataverse_filter]


@pytest.mark.parametrize("table_map", FILTERED, ids=lambda each: each.name)
async def test_written_condition_means_the_same_as_the_filter(tester: FilterTester, table_map: TableMap) -> None:
    """What the tester writes out can be put in the filter's place, and counts the same."""
    if table_map.finops_filter:
        relation = entity_relation(CATALOG, CATALOG.entities[table_map.entity])
        condition = parse_range(table_map.finops_filter, relation)
        written = condition_text(condition, "finops")
        assert condition_text(parse_range(written, relation), "finops") == written
    if table_map.dataverse_filter:
        relation = table_relation(CATALOG, CATALOG.tables[table_map.table])
        condition = parse_filter(table_map.dataverse_filter, relation, {})
        written = condition_text(condition, "dataverse")
        assert condition_text(parse_filter(written, relation, {}), "dataverse") == written
    for half in ("finops", "dataverse"):
        await tester.matching(table_map, half)  # type: ignore[arg-type]
