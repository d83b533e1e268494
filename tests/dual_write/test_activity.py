"""The activity log: what stands in it, how it is found and grouped, and what becomes of a refused save."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from importlib import resources
from typing import Any

import asyncpg
import pytest
from tests.support.both_halves import BothHalves
from tests.support.callers import CALLER
from tests.support.writing import create, update

from isthmus.clock import now
from isthmus.config import Settings
from isthmus.dual_write.activity import ActivityFilter, ActivityLog, Entry, Record
from isthmus.dual_write.activity_causes import cause_of
from isthmus.dual_write.activity_csv import COLUMNS, activity_csv
from isthmus.environments.environment import Environment
from isthmus.errors import NotFound, Rejected
from isthmus.store.migrate import migrate

NewDatabase = Callable[..., Awaitable[str]]
CUSTOMERS, VENDORS = "accounts - Customers V3", "msdyn_vendors - Vendors V2"


@pytest.fixture
async def pool(templates: dict[str, str], new_database: NewDatabase) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(await new_database(templates["control"]), min_size=1, max_size=4) as pool:
        yield pool


@pytest.fixture
def activity(pool: asyncpg.Pool) -> ActivityLog:
    return ActivityLog(pool)


def refusal(number: int, **values: Any) -> Entry:
    given: dict[str, Any] = {
        "kind": "live_sync_error",
        "result": "refused",
        "table_map": CUSTOMERS,
        "origin": "finops",
        "refused_by": "dataverse",
        "record_key": f"c{number}, usmf",
        "records": [Record(half="finops", id=str(number), key=f"c{number}, usmf", company="usmf")],
        "code": "value_map_entry_missing",
        "field": "ADDRESSCITY",
        "message": f"Record c{number}, usmf: the value map of 'ADDRESSCITY' has no entry for '{number}'.",
        "correlation_id": f"request-{number}",
    }
    return Entry(**given | values)


async def test_an_entry_comes_back_as_it_was_recorded(activity: ActivityLog) -> None:
    given = refusal(7, partner_message="No.", details={"before": {"name": "A"}, "after": None}, principal="Ann")
    (id_,) = await activity.record(given)
    found = await activity.entry(id_)
    assert found.at is not None and timedelta(0) <= now() - found.at < timedelta(minutes=1)
    given.id, given.at = found.id, found.at
    assert found == given
    with pytest.raises(NotFound):
        await activity.entry(id_ + 1)


async def test_entries_are_found_by_each_condition_and_by_all_together(activity: ActivityLog) -> None:
    started = now()
    ids = await activity.record(
        refusal(1),
        refusal(2, table_map=VENDORS),
        refusal(3, code="lookup_not_found"),
        Entry(kind="paused", message="Paused.", table_map=CUSTOMERS, principal="Ann", correlation_id="request-1"),
    )

    async def found(**conditions: Any) -> list[int]:
        return [ids.index(entry.id) for entry in await activity.entries(ActivityFilter(**conditions))]

    assert await found() == [3, 2, 1, 0]
    assert await found(table_map=VENDORS) == [1]
    assert await found(kinds=("paused", "resumed")) == [3]
    assert await found(code="lookup_not_found") == [2]
    assert await found(key="c2, usmf") == await found(key="C2, USMF") == await found(key="c2\x1fusmf") == [1]
    assert await found(correlation_id="request-1") == [3, 0]
    assert await found(since=started) == [3, 2, 1, 0]
    assert await found(until=started) == []
    assert await found(table_map=CUSTOMERS, kinds=("live_sync_error",), key="c1, usmf") == [0]
    assert await found(table_map=VENDORS, key="c1, usmf") == []


async def test_pages_hold_every_entry_once_though_entries_arrive_meanwhile(activity: ActivityLog) -> None:
    ids = await activity.record(*(refusal(number) for number in range(25)))
    seen: list[int] = []
    while page := await activity.entries(before=seen[-1] if seen else None, limit=10):
        seen += [entry.id for entry in page]
        await activity.record(refusal(99))
    assert seen == sorted(ids, reverse=True)


async def test_a_thousand_refusals_for_one_reason_are_one_group(activity: ActivityLog) -> None:
    await activity.record(*(refusal(number) for number in range(1000)))
    other = refusal(5, field="ADDRESSSTREET", table_map=VENDORS)
    other.message = other.message.replace("ADDRESSCITY", "ADDRESSSTREET")
    (last,) = await activity.record(other)
    await activity.record(Entry(kind="paused", message="Paused."))
    many, one = await activity.groups()
    assert (many.count, many.open, many.field, many.table_maps) == (1000, 1000, "ADDRESSCITY", [CUSTOMERS])
    assert (one.count, one.newest, one.message) == (1, last, other.message)
    assert len(await activity.entries(ActivityFilter(cause=many.cause), limit=1000)) == 1000


@pytest.mark.parametrize(
    ("one", "other", "cause"),
    [
        (
            "Unable to lookup msdyn_group with values {msdyn_group.name = 40, company = usmf}: no such row.",
            "Unable to lookup msdyn_group with values {msdyn_group.name = A, b, company = demf}: no such row.",
            "Unable to lookup msdyn_group with values {msdyn_group.name = …, company = …}: no such row.",
        ),
        (
            "Row 3f2504e0-4f89-41d3-9a0c-0305e82c3301 is gone since 2026-11-21T10:00:00Z.",
            "Row 00000000-4f89-41d3-9a0c-0305e82c3301 is gone since 2025-01-02T11:30:59Z.",
            "Row … is gone since ….",
        ),
        (
            "Field 'NAME' is longer than 60: 'Äpfel'.",
            "Field 'NAME' is longer than 20: ''.",
            "Field 'NAME' is longer than …: '…'.",
        ),
        ("Column address1_line1 of R1, usmf.", "Column address1_line1 of R22, usmf.", "Column address1_line1 of …."),
    ],
)
def test_causes_keep_names_and_lose_values(one: str, other: str, cause: str) -> None:
    known = ({"NAME"}, {"R1, usmf", "R22, usmf"})
    assert cause_of(one, *known) == cause_of(other, *known) == cause


async def test_csv_has_every_entry_and_no_formula(activity: ActivityLog) -> None:
    await activity.record(*(refusal(number, message=f'=HYPERLINK("{number}"),\n"x"') for number in range(1200)))
    text = "".join([piece async for piece in activity_csv(activity, ActivityFilter(table_map=CUSTOMERS))])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 1200
    assert list(rows[0]) == list(COLUMNS)
    assert {row["message"] for row in rows} == {f'\'=HYPERLINK("{number}"),\n"x"' for number in range(1200)}


async def test_a_retry_sends_each_record_and_settles_only_what_went_through(activity: ActivityLog) -> None:
    good, bad = await activity.record(refusal(1), refusal(2))
    sent: list[tuple[str, str]] = []

    async def resend(table_map: str, record: Record) -> None:
        sent.append((table_map, record.id))
        if record.id == "2":
            raise Rejected("Still no.", code="value_map_entry_missing")

    outcomes = await activity.retry([good, bad], "Ann", resend)
    assert sent == [(CUSTOMERS, "1"), (CUSTOMERS, "2")]
    assert [(outcome.about, outcome.result, outcome.principal) for outcome in outcomes] == [
        (good, "done", "Ann"),
        (bad, "refused", "Ann"),
    ]
    still_open = ActivityFilter(kinds=("live_sync_error",), open_only=True)
    assert [entry.id for entry in await activity.entries(still_open)] == [bad]
    (group,) = await activity.groups()
    assert (group.count, group.open) == (2, 1)


async def test_only_refused_saves_with_known_records_can_be_retried(activity: ActivityLog) -> None:
    sent: list[Record] = []

    async def resend(table_map: str, record: Record) -> None:
        sent.append(record)

    good, paused, unknown = await activity.record(
        refusal(1), Entry(kind="paused", message="Paused."), refusal(2, records=[])
    )
    for other in (paused, unknown):
        with pytest.raises(Rejected, match=f"Entry {other} ") as refused:
            await activity.retry([good, other], "Ann", resend)
        assert refused.value.code == "not_retriable"
    assert sent == []


async def test_nothing_goes_unless_a_retention_says_so_and_then_that_is_told(
    activity: ActivityLog, pool: asyncpg.Pool
) -> None:
    ids = await activity.record(refusal(1), refusal(2), refusal(3))
    await pool.execute("update isthmus.activity set at = now() - interval '31 days' where id = any($1)", ids[:2])
    assert await activity.purge(32) == 0
    assert await activity.purge(30) == 2
    told, kept = await activity.entries()
    assert (told.kind, told.details, kept.id) == ("activity_purged", {"removed": 2}, ids[2])


async def test_a_log_that_cannot_be_written_stops_nobody(pool: asyncpg.Pool) -> None:
    await pool.execute("alter table isthmus.activity rename to elsewhere")
    assert await ActivityLog(pool).record(refusal(1)) == []


async def test_entries_of_the_first_version_are_found_by_their_new_kind(new_database: NewDatabase) -> None:
    connection = await asyncpg.connect(await new_database())
    try:
        first = resources.files("isthmus.store.migrations").joinpath("control_001_activity.sql").read_text("utf-8")
        await connection.execute(first)
        await connection.execute("create table isthmus.migration (name text primary key, at timestamptz default now())")
        await connection.execute("insert into isthmus.migration (name) values ('control_001_activity.sql')")
        await connection.execute(
            "insert into isthmus.activity (kind, message, principal, correlation_id) "
            "values ('live_sync_refused', 'No.', 'ann', 'c')"
        )
        await migrate(connection, "control")
        found = await connection.fetchrow("select kind, result from isthmus.activity")
        assert tuple(found) == ("live_sync_error", "refused")
    finally:
        await connection.close()


async def test_a_refused_save_stands_there_with_record_request_and_both_answers(both: BothHalves) -> None:
    """A customer group that F&O doesn't have."""
    activity = both.environment.activity
    finops = both.apps["finops"]
    customer = {
        "dataareaid": "usmf",
        "customeraccount": "ACT1",
        "organizationname": "Adventure Works",
        "partytype": "Organization",
        "customergroupid": "ACT",
        "salescurrencycode": await both.finops.fetchval("select currencycode from finops.currency limit 1"),
    }
    await create(
        finops, "CustCustomerGroupEntity", {"dataareaid": "usmf", "customergroupid": "ACT", "description": "Activity"}
    )
    await create(finops, "CustCustomerV3Entity", customer)
    row = await both.dataverse.fetchrow("select accountid from dataverse.account where accountnumber = 'ACT1'")
    group = await create(
        both.apps["dataverse"], "msdyn_customergroup", {"msdyn_groupid": "NOCOMPANY", "msdyn_description": "Nowhere"}
    )
    with pytest.raises(Rejected) as refused:
        await update(
            both.apps["dataverse"],
            "account",
            {row["accountid"]: {"creditlimit": Decimal(200), "msdyn_customergroupid": group[0]}},
        )
    (entry,) = await activity.entries(ActivityFilter(key="act1, usmf"))
    assert (entry.kind, entry.result, entry.origin, entry.refused_by) == (
        "live_sync_error",
        "refused",
        "dataverse",
        "finops",
    )
    assert entry.records == [Record(half="dataverse", id=str(row["accountid"]), key="act1, usmf", company="usmf")]
    assert entry.message == refused.value.message
    assert entry.partner_message is not None and entry.partner_message in entry.message
    assert "Nothing was saved on either half" not in entry.partner_message
    assert (entry.correlation_id, entry.code) == ("test", refused.value.code)


async def test_what_administrators_do_to_a_table_map_stands_there_with_their_name(
    templates: dict[str, str], new_database: NewDatabase
) -> None:
    groups = "msdyn_customergroups - Customer groups"
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    environment = await Environment.open(Settings(pool_size=2, **addresses))
    try:
        dual_write = environment.dual_write
        await dual_write.states.change([groups], "paused", by="Ann", reason="manual")
        await dual_write.states.change([groups], "not_running", by="Ben")
        await dual_write.editing.save(await dual_write.versions.current(groups), CALLER)
        await dual_write.versions.roll_back(groups, by="Ann")
        await dual_write.states.change([groups], "running", by="Ben")
        found = await dual_write.activity.entries(ActivityFilter(table_map=groups))
    finally:
        await environment.close()
    assert [(entry.kind, entry.principal) for entry in reversed(found)] == [
        ("paused", "Ann"),
        ("stopped", "Ben"),
        ("mapping_changed", CALLER.object_id),
        ("version_chosen", CALLER.object_id),
        ("version_chosen", "Ann"),
        ("run", "Ben"),
    ]
