"""Generated filters over generated rows: PostgreSQL and a plain reading of the same filter in Python must agree.

The oracle knows nothing of the query model: each generated filter is text and a Python function, made side by side.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.query.sample_relations import ACCOUNT, TABLES, account_id

from isthmus.query.model import Value
from isthmus.query.odata import parse_filter
from isthmus.query.planner import Planner
from isthmus.query.sql import compile_condition

Row = dict[str, Any]
Check = Callable[[Row], bool]
Filter = tuple[str, Check]

TEXTS = ["", "a", "A", "ab", "aB%", "_b", "b\\", "o'b", "ä", "Äb", "a*", "?"]
NUMBERS = [Decimal(text) for text in ("-2", "0", "1", "1.5", "2", "10.25")]
MOMENTS = [datetime(2024, 2, 29, 23, 0, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)]
COMPARE = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}


def folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def compared(how: str, left: Any, right: Any) -> bool:
    """A comparison of values: null is unequal to all, and neither smaller nor greater than any."""
    left, right = folded(left), folded(right)
    if isinstance(left, str) and isinstance(right, str):
        left, right = left.encode(), right.encode()
    if left is None or right is None:
        return how == "ne" and not (left is None and right is None)
    return bool(COMPARE[how](left, right))


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def text_comparison(name: str, how: str, value: str) -> Filter:
    if value == "" and how in ("eq", "ne"):
        return f"{name} {how} ''", lambda row: (row[name] in (None, "")) == (how == "eq")
    return f"{name} {how} {quoted(value)}", lambda row: compared(how, row[name], value)


def match(name: str, function: str, value: str) -> Filter:
    tests: dict[str, Callable[[str, str], bool]] = {
        "contains": lambda text, part: part in text,
        "startswith": str.startswith,
        "endswith": str.endswith,
    }
    return (
        f"{function}({name},{quoted(value)})",
        lambda row: row[name] is not None and tests[function](row[name].lower(), value.lower()),
    )


def number_comparison(name: str, how: str, value: Decimal) -> Filter:
    return f"{name} {how} {value}", lambda row: compared(how, row[name], value)


def moment_comparison(how: str, value: datetime) -> Filter:
    return f"createdon {how} {value:%Y-%m-%dT%H:%M:%SZ}", lambda row: compared(how, row["createdon"], value)


def null_comparison(name: str, how: str) -> Filter:
    return f"{name} {how} null", lambda row: (row[name] is None) == (how == "eq")


def listed(name: str, values: list[Any], written: Callable[[Any], str]) -> Filter:
    return (
        f"{name} in ({','.join(map(written, values))})",
        lambda row: row[name] is not None and any(folded(row[name]) == folded(value) for value in values),
    )


def columns_compared(how: str) -> Filter:
    return f"revenue {how} numberofemployees", lambda row: compared(how, row["revenue"], row["numberofemployees"])


def arithmetic(operation: str, number: Decimal, how: str, value: Decimal) -> Filter:
    act = {"add": operator.add, "sub": operator.sub, "mul": operator.mul}[operation]
    return (
        f"revenue {operation} {number} {how} {value}",
        lambda row: compared(how, None if row["revenue"] is None else act(row["revenue"], number), value),
    )


def length(how: str, value: int) -> Filter:
    return f"length(name) {how} {value}", lambda row: compared(
        how, None if row["name"] is None else len(row["name"]), value
    )


def year(how: str, value: int) -> Filter:
    return (
        f"year(createdon) {how} {value}",
        lambda row: compared(how, None if row["createdon"] is None else row["createdon"].year, value),
    )


def flag(value: bool) -> Filter:
    return f"creditonhold eq {str(value).lower()}", lambda row: row["creditonhold"] is value


def parent(child: Filter) -> Filter:
    """A comparison of a column of the related row; without one, its columns are null."""
    text, check = child
    empty = dict.fromkeys(("name", "revenue", "numberofemployees", "createdon", "creditonhold"))
    return (
        text.replace("name", "parentaccountid/name").replace("revenue", "parentaccountid/revenue"),
        lambda row: check(row["parent"] or empty),
    )


def members(how: str, child: Filter) -> Filter:
    text, check = child
    text = text.replace("name", "m/name").replace("revenue", "m/revenue")
    test = any if how == "any" else all
    return f"account_parent_account/{how}(m:{text})", lambda row: test(check(member) for member in row["members"])


hows = st.sampled_from(sorted(COMPARE))
texts = st.sampled_from(TEXTS)
numbers = st.sampled_from(NUMBERS)
simple = st.one_of(
    st.builds(text_comparison, st.just("name"), hows, texts),
    st.builds(match, st.just("name"), st.sampled_from(["contains", "startswith", "endswith"]), texts),
    st.builds(number_comparison, st.just("revenue"), hows, numbers),
    st.builds(null_comparison, st.sampled_from(["name", "revenue"]), st.sampled_from(["eq", "ne"])),
)
leaves = st.one_of(
    simple,
    st.builds(number_comparison, st.just("numberofemployees"), hows, numbers),
    st.builds(moment_comparison, hows, st.sampled_from(MOMENTS)),
    st.builds(listed, st.just("name"), st.lists(texts.filter(bool), min_size=1, max_size=3), st.just(quoted)),
    st.builds(listed, st.just("revenue"), st.lists(numbers, min_size=1, max_size=3), st.just(str)),
    st.builds(columns_compared, hows),
    st.builds(arithmetic, st.sampled_from(["add", "sub", "mul"]), numbers, hows, numbers),
    st.builds(length, hows, st.integers(0, 3)),
    st.builds(year, hows, st.integers(2023, 2026)),
    st.builds(flag, st.booleans()),
    st.builds(parent, simple),
    st.builds(members, st.sampled_from(["any", "all"]), simple),
)


def combined(children: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    def both(word: str, parts: list[Filter]) -> Filter:
        test = all if word == "and" else any
        return "(" + f" {word} ".join(text for text, _ in parts) + ")", lambda row: test(
            check(row) for _, check in parts
        )

    def opposite(part: Filter) -> Filter:
        return f"not ({part[0]})", lambda row: not part[1](row)

    return st.one_of(
        st.builds(both, st.sampled_from(["and", "or"]), st.lists(children, min_size=2, max_size=3)),
        st.builds(opposite, children),
    )


filters = st.recursive(leaves, combined, max_leaves=6)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.none() | texts,
            "revenue": st.none() | numbers,
            "numberofemployees": st.none() | st.integers(-2, 3),
            "createdon": st.none() | st.sampled_from(MOMENTS),
            "creditonhold": st.none() | st.booleans(),
            "parent": st.none() | st.integers(0, 7),
        }
    ),
    min_size=1,
    max_size=8,
)

COLUMNS = ("name", "revenue", "numberofemployees", "createdon", "creditonhold")


def expected(stored: list[Row], check: Check) -> list[int]:
    parents = [None if row["parent"] is None or row["parent"] >= len(stored) else row["parent"] for row in stored]
    linked = [
        {
            **row,
            "parent": None if parents[number] is None else stored[parents[number]],
            "members": [stored[other] for other, above in enumerate(parents) if above == number],
        }
        for number, row in enumerate(stored)
    ]
    return [number for number, row in enumerate(linked) if check(row)]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=rows, asked=st.lists(filters, min_size=1, max_size=4))
async def test_filters_agree_with_the_oracle(
    sample: asyncpg.Connection, stored: list[Row], asked: list[Filter]
) -> None:
    transaction = sample.transaction()
    await transaction.start()
    try:
        await sample.execute("delete from sample.account")
        await sample.executemany(
            "insert into sample.account (accountid, parentaccountid, name, revenue, numberofemployees, createdon,"
            " creditonhold) values ($1, $2, $3, $4, $5, $6, $7)",
            [
                (
                    account_id(number),
                    None if row["parent"] is None else account_id(row["parent"]),
                    *(row[name] for name in COLUMNS),
                )
                for number, row in enumerate(stored)
            ],
        )
        for text, check in asked:
            assert await found(sample, text) == expected(stored, check), text
    finally:
        await transaction.rollback()


async def found(sample: asyncpg.Connection, text: str) -> list[int]:
    parameters: list[Any] = []
    where = compile_condition(parse_filter(text, ACCOUNT, TABLES), "a", parameters, relations=TABLES)
    statement = f"select accountid from sample.account a where {where} order by accountid"
    return [row[0].int - account_id(0).int for row in await sample.fetch(statement, *parameters)]


@settings(max_examples=300, deadline=None)
@given(first=filters, second=filters)
def test_a_kept_plan_binds_what_a_new_one_would(first: Filter, second: Filter) -> None:
    """Two filters may share a shape; then the plan of the first, bound to the second, is the second's own."""
    kept = Planner(TABLES, "dataverse")
    kept.ask("account", query_of(first))
    reused, fresh = kept.ask("account", query_of(second)), Planner(TABLES, "dataverse").ask("account", query_of(second))
    assert (reused.sql, reused.arguments) == (fresh.sql, fresh.arguments)


def query_of(asked: Filter) -> str:
    return "$filter=" + asked[0].replace("%", "%25").replace("+", "%2B").replace("&", "%26")


def test_values_are_never_in_the_statement() -> None:
    condition = parse_filter("name eq 'seldom seen'", ACCOUNT, TABLES)
    parameters: list[Any] = []
    assert "seldom" not in compile_condition(condition, "a", parameters)
    assert parameters == ["seldom seen"]
    assert isinstance(condition.right, Value)
