"""Pages follow the keys of rows: nothing twice, nothing lost, whatever the order, and tokens are not to be trusted."""

from __future__ import annotations

import base64
import itertools
import json

import asyncpg
import pytest
from tests.query.sample_relations import ENTITIES, TABLES, account_id

from isthmus.errors import Rejected
from isthmus.query.planner import Planner, read_token, with_token, write_token

DATAVERSE = Planner(TABLES, "dataverse", page_size=5_000, count_limit=4)
FINOPS = Planner(ENTITIES, "finops", page_size=2)

ORDERS = [
    "",
    "name",
    "name desc",
    "revenue",
    "revenue desc",
    "statecode,name desc",
    "statecode desc,creditonhold,name",
    "createdon desc,opendate",
    "creditonhold,accountid desc",
    "accountid desc",
    "_primarycontactid_value",
    "primarycontactid/fullname desc,name",
    "parentaccountid/name,score desc",
    "length(name) desc",
    "revenue add numberofemployees",
    "numberofemployees mod 2,numberofemployees mul 3 desc",
    "tolower(name) desc",
    "score",
    "year(createdon),versionnumber desc",
]


async def pages(sample: asyncpg.Connection, planner: Planner, relation: str, query: str, **more: int) -> list[list]:
    found = []
    for _ in range(20):
        asked = planner.ask(relation, query, **more)
        page = asked.page(await sample.fetch(asked.sql, *asked.arguments))
        found.append(json.loads(f"[{page.records}]"))
        if page.next_token is None:
            return found
        query = with_token(query, page.next_token)
    raise AssertionError("paging did not end")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [1, 2, 4, 6, 7])
async def test_pages_together_are_the_whole(sample: asyncpg.Connection, order: str, size: int) -> None:
    query = f"$select=name&$orderby={order}"
    (whole,) = await pages(sample, DATAVERSE, "account", query)
    assert len(whole) == 6
    cut = await pages(sample, DATAVERSE, "account", query, page_size=size)
    assert list(itertools.chain.from_iterable(cut)) == whole
    assert [len(page) for page in cut[:-1]] == [size] * (len(cut) - 1)
    assert cut[-1]


async def test_order_is_the_asked_one(sample: asyncpg.Connection) -> None:
    async def ids(order: str) -> list[int]:
        (rows,) = await pages(sample, DATAVERSE, "account", f"$select=name&$orderby={order}")
        return [int(row["accountid"][-2:], 16) for row in rows]

    assert await ids("revenue") == [5, 4, 3, 1, 2, 6]
    assert await ids("revenue desc") == [6, 2, 1, 3, 4, 5]
    assert await ids("statecode desc,revenue desc") == [2, 6, 1, 3, 4, 5]
    assert await ids("name") == [5, 6, 4, 1, 3, 2]
    assert await ids("_primarycontactid_value desc,accountid desc") == [2, 1, 6, 5, 4, 3]
    assert await ids("") == [1, 2, 3, 4, 5, 6]


async def test_top_is_a_total(sample: asyncpg.Connection) -> None:
    query = "$select=CustomerAccount&$orderby=CustomerAccount desc&$top=3"
    cut = await pages(sample, FINOPS, "Customer", query)
    assert [len(page) for page in cut] == [2, 1]
    assert [len(page) for page in await pages(sample, FINOPS, "Customer", "$top=2")] == [2]
    assert [len(page) for page in await pages(sample, FINOPS, "Customer", "$top=0")] == [0]
    assert [len(page) for page in await pages(sample, FINOPS, "Customer", "$top=4")] == [2, 2]


async def test_skip(sample: asyncpg.Connection) -> None:
    whole = list(itertools.chain.from_iterable(await pages(sample, FINOPS, "Customer", "")))
    cut = await pages(sample, FINOPS, "Customer", "$skip=1")
    assert [len(page) for page in cut] == [2, 1]
    assert list(itertools.chain.from_iterable(cut)) == whole[1:]


async def test_top_does_not_count_beside_a_preferred_page_size(sample: asyncpg.Connection) -> None:
    cut = await pages(sample, DATAVERSE, "account", "$top=1", page_size=4)
    assert [len(page) for page in cut] == [4, 2]
    assert [len(page) for page in await pages(sample, DATAVERSE, "account", "$top=1")] == [1]


async def test_rows_written_meanwhile_lose_no_others(sample: asyncpg.Connection) -> None:
    transaction = sample.transaction()
    await transaction.start()
    try:
        asked = DATAVERSE.ask("account", "$orderby=name", page_size=3)
        first = asked.page(await sample.fetch(asked.sql, *asked.arguments))
        await sample.execute("delete from sample.account where accountid = $1", account_id(5))
        await sample.execute("insert into sample.account (accountid, name) values ($1, '!')", account_id(9))
        asked = DATAVERSE.ask("account", f"$orderby=name&$skiptoken={first.next_token}", page_size=3)
        second = asked.page(await sample.fetch(asked.sql, *asked.arguments))
    finally:
        await transaction.rollback()
    names = [record["name"] for record in json.loads(f"[{first.records},{second.records}]")]
    assert names[1:] == ['  Ärger "o\'clock" ', "100%_sure [x]\\*?", "Contoso", "contoso EAST", "Fabrikam, Inc."]


async def test_count(sample: asyncpg.Connection) -> None:
    asked = DATAVERSE.ask("account", "$count=true&$filter=revenue gt 1000", page_size=1)
    assert asked.count_sql is not None
    assert await sample.fetchval(asked.count_sql, *asked.count_arguments) == 3
    asked = DATAVERSE.ask("account", "$count=true")
    assert asked.count_sql is not None
    assert await sample.fetchval(asked.count_sql, *asked.count_arguments) == 4, "counting stops at the limit"
    assert DATAVERSE.ask("account", "").count_sql is None
    asked = FINOPS.ask_count("Customer", "$filter=Visits gt 0", fixed={"dataareaid": "usmf"})
    assert await sample.fetchval(asked.sql, *asked.arguments) == 1


def token_of(query: str) -> str:
    asked = DATAVERSE.ask("account", query, page_size=1)
    return write_token(asked.digest, None, ["5", str(account_id(1))])


BROKEN = [
    "x",
    "",
    "AAAA",
    "%%%",
    "é",
    "e30",
    base64.urlsafe_b64encode(b'["a",null,["1"]]').decode(),
    base64.urlsafe_b64encode(b"[" * 5_000).decode(),
    "A" * 10_000,
]


@pytest.mark.parametrize("token", BROKEN, ids=[token[:10] for token in BROKEN])
def test_broken_tokens_are_refused(token: str) -> None:
    with pytest.raises(Rejected) as refusal:
        DATAVERSE.ask("account", f"$skiptoken={token}")
    assert refusal.value.code == "invalid_skiptoken"


@pytest.mark.parametrize(
    ("order", "value"),
    [
        ("revenue", "x"),
        ("revenue", "NaN"),
        ("createdon", "infinity"),
        ("accountid", "1"),
        ("creditonhold", "perhaps"),
        ("numberofemployees", "99999999999999999999"),
        ("name", "a\x00b"),
        ("accountid", None),
    ],
)
async def test_changed_tokens_do_no_harm(sample: asyncpg.Connection, order: str, value: str | None) -> None:
    asked = DATAVERSE.ask("account", f"$orderby={order}", page_size=1)
    keys = [value, *([str(account_id(1))] * (len(asked.plan.order_kinds) - 1))]
    token = write_token(asked.digest, None, keys)
    try:
        again = DATAVERSE.ask("account", f"$orderby={order}&$skiptoken={token}", page_size=1)
        await sample.fetch(again.sql, *again.arguments)
    except Rejected as refusal:
        assert refusal.code == "invalid_skiptoken"
    else:
        assert value is None


def test_a_token_serves_its_own_query_only() -> None:
    for query in (
        "$orderby=name",
        "$filter=name eq 'x'",
        "$orderby=revenue&$filter=name eq 'x'",
        "$orderby=revenue desc",
    ):
        with pytest.raises(Rejected) as refusal:
            DATAVERSE.ask("account", f"{query}&$skiptoken={token_of('$orderby=revenue')}")
        assert refusal.value.code == "invalid_skiptoken"


def test_token_round_trip() -> None:
    assert read_token(write_token("d1", 7, ["a", None, "ü'\""])) == ("d1", 7, ["a", None, "ü'\""])


def test_next_address_keeps_the_options() -> None:
    assert with_token("$top=5&$filter=a%20eq%20'b'", "T") == "$top=5&$filter=a%20eq%20'b'&$skiptoken=T"
    assert with_token("a=1&$skiptoken=old&%24SkipToken=old", "T") == "a=1&$skiptoken=T"
    assert with_token("", "T") == "$skiptoken=T"
