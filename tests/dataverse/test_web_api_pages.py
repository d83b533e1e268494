"""Pages of rows over HTTP: query options, paging, counts, annotations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest
from tests.dataverse.conftest import Served

Create = Callable[..., Awaitable[UUID]]


async def _accounts(create: Create, number: int) -> str:
    mark = uuid4().hex[:8]
    for index in range(number):
        await create("account", name=f"{mark} {index:02}", numberofemployees=index)
    return mark


async def test_pages_follow_each_other_without_gap_or_repetition(api: Served, create: Create) -> None:
    mark = await _accounts(create, 7)
    address = f"accounts?$select=name&$filter=startswith(name,'{mark}')&$orderby=numberofemployees desc"
    answer = await api("GET", address, prefer="odata.maxpagesize=3")
    assert answer.headers["preference-applied"] == "odata.maxpagesize=3"
    pages = [[row["name"] for row in answer.json()["value"]]]
    while following := answer.json().get("@odata.nextLink"):
        assert following.startswith(f"{api.base}/accounts?")
        # Somebody else's row that sorts before the page must not shift it.
        await create("account", name=f"{mark} new", numberofemployees=100)
        answer = await api.client.get(following, headers={"prefer": "odata.maxpagesize=3"})
        pages.append([row["name"] for row in answer.json()["value"]])
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [name for page in pages for name in page] == [f"{mark} {index:02}" for index in reversed(range(7))]


async def test_a_foreign_paging_token_is_refused(api: Served, create: Create) -> None:
    for token in ("x", "eyJhIjoxfQ", "W10"):
        answer = await api("GET", f"accounts?$skiptoken={token}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x80060888")


async def test_top_count_and_context(api: Served, create: Create) -> None:
    mark = await _accounts(create, 4)
    body = (await api("GET", f"accounts?$select=name&$top=2&$filter=startswith(name,'{mark}')&$count=true")).json()
    assert body["@odata.context"] == f"{api.base}/$metadata#accounts(name)"
    assert body["@odata.count"] == 4
    assert len(body["value"]) == 2
    assert "@odata.nextLink" not in body
    assert (await api("GET", f"accounts/$count?$filter=startswith(name,'{mark}')")).text == "4"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("numberofemployees gt 1", [2, 3]),
        ("contains(name,' 02') or numberofemployees eq 0", [0, 2]),
        ("not (numberofemployees in (1,2))", [0, 3]),
        ("parentaccountid/name eq null", [0, 1, 2, 3]),
        ("contact_customer_accounts/any()", []),
        ("Microsoft.Dynamics.CRM.Between(PropertyName='numberofemployees',PropertyValues=['1','2'])", [1, 2]),
        ("_ownerid_value ne null and createdon gt 2020-01-01T00:00:00Z", [0, 1, 2, 3]),
        ("Microsoft.Dynamics.CRM.EqualUserId(PropertyName='ownerid')", [0, 1, 2, 3]),
    ],
)
async def test_filters(api: Served, create: Create, condition: str, expected: list[int]) -> None:
    mark = await _accounts(create, 4)
    answer = await api(
        "GET",
        "accounts?$select=numberofemployees&$orderby=numberofemployees"
        f"&$filter=startswith(name,'{mark.upper()}') and ({condition})",
    )
    assert answer.status_code == 200, answer.text
    assert [row["numberofemployees"] for row in answer.json()["value"]] == expected


async def test_spaces_may_be_plus_signs_and_values_aliases(api: Served, create: Create) -> None:
    mark = await _accounts(create, 2)
    answer = await api.client.get(
        f"{api.base}/accounts?$select=name&$filter=startswith(name,@p1)+and+numberofemployees%20eq+1&@p1='{mark}'"
    )
    assert [row["name"] for row in answer.json()["value"]] == [f"{mark} 01"]


async def test_annotations_come_when_asked_for(api: Served, create: Create) -> None:
    mark = await _accounts(create, 1)
    address = f"accounts?$select=statecode,numberofemployees,_ownerid_value&$filter=startswith(name,'{mark}')"
    plain = (await api("GET", address)).json()["value"][0]
    assert not [name for name in plain if "@" in name and name != "@odata.etag"]
    formatted = "OData.Community.Display.V1.FormattedValue"
    for header in ('odata.include-annotations="*"', f"odata.include-annotations={formatted}"):
        row = (await api("GET", address, prefer=header)).json()["value"][0]
        assert row[f"statecode@{formatted}"] == "Active"
        assert row[f"_ownerid_value@{formatted}"] == "Test user"


@pytest.mark.parametrize(
    "address",
    [
        "accounts?$filter=nosuch eq 1",
        "accounts?$filter=name eq",
        "accounts?$select=nosuch",
        "accounts?$orderby=nosuch",
        "accounts?$expand=nosuch",
        "accounts?$filter=revenue eq 'x'",
        "accounts?$skip=5",
        "accounts?$search=x",
        "accounts?$nonsense=x",
        "accounts?$top=-1",
        "accounts?fetchXml=<fetch/>",
    ],
)
async def test_a_query_that_cannot_be_answered_is_refused(api: Served, address: str) -> None:
    answer = await api("GET", address)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x80060888")
