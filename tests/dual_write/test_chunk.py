"""Chunks of initial sync leave what live sync leaves, rows and refusals, for every table that they may write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests.support.both_halves import BothHalves
from tests.support.choices import Seeded
from tests.support.generated_drafts import NoRecord
from tests.support.world import COMPANIES
from tests.support.writing import create, delete

from isthmus import solutions
from isthmus.apps.context import Context
from isthmus.apps.principal import DUAL_WRITE
from isthmus.dual_write.chunk import STAGING, ChunkLoad, Outcome, is_set_based
from isthmus.dual_write.leg import Leg
from isthmus.dual_write.leg_sql import key_rows
from isthmus.dual_write.legs import Legs
from isthmus.query.quoting import quote_identifier
from isthmus.store.copy import pump

CATALOG = solutions.catalog()
LEGS = Legs(CATALOG)
NAMES = sorted(leg.name for leg in LEGS.all["finops"])
LAST_BUCKET = 2**31 - 1
OWN_VALUES = {"createdon", "modifiedon", "versionnumber"}
"""Columns that two writes of one row never share."""


@asynccontextmanager
async def staged(both: BothHalves, leg: Leg, ids: list[int], change: str = "") -> AsyncIterator[str]:
    """A staging table with these records of the leg, copied from F&O; `change` is then done to it."""
    name = "test_chunk"
    dataverse = await asyncpg.connect(both.environment.dataverse_app.pool.dsn)
    finops = await asyncpg.connect(both.environment.finops_app.pool.dsn)
    try:
        columns = ", ".join(f"{quote_identifier(column)} {type_}" for column, type_ in leg.staged.items())
        await dataverse.execute(f"create unlogged table {STAGING}.{name} ({columns})")
        wanted = ", ".join(map(str, ids))
        query = f"select * from ({leg.stage(None)}) r where r._id in ({wanted})"
        assert await pump(finops, query, dataverse, STAGING, name, list(leg.staged)) == len(ids)
        if change:
            await dataverse.execute(change.replace("{staging}", f"{STAGING}.{name}"))
        yield name
    finally:
        await dataverse.execute(f"drop table if exists {STAGING}.{name}")
        await dataverse.close()
        await finops.close()


@asynccontextmanager
async def undone(both: BothHalves) -> AsyncIterator[Context]:
    """A context of the Dataverse half under dual-write whose work is rolled back."""
    async with both.apps["dataverse"].context(DUAL_WRITE, correlation_id="test") as context:
        await context.transaction.run("set constraints all deferred")
        yield context


async def make_records(both: BothHalves, leg: Leg, count: int) -> list[int]:
    """That many new records on F&O, in two companies where the map has them; live sync brings them over."""
    maker = both.maker(leg.name)
    choices, taken = Seeded(23), await both.taken(maker)
    made = []
    for number in range(count):
        company = COMPANIES[number % 2] if maker.is_company_specific else None
        try:
            draft, values = both.generate(maker, "finops", choices, company, taken)
        except NoRecord:
            break
        taken.add(maker.key_of(draft.fields, company))
        made.append(values)
    assert made
    ids = await create(both.apps["finops"], leg.table_map.entity, *made)
    return [row_id for row_id in ids if isinstance(row_id, int)]


async def rows_of(both: BothHalves, leg: Leg, ids: list[int], context: Context | None = None) -> dict[int, Any]:
    """The counterparts of records, by the records' ids, as they stand for the context or for everybody."""
    found = {}
    for id_ in ids:
        pair = await both.pair(leg.table_map, "finops", id_)
        assert pair.row is not None
        found[id_] = pair.row
    return found


def comparable(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in {*OWN_VALUES, key}}


@pytest.mark.parametrize("name", NAMES)
async def test_chunks_write_what_live_sync_writes(both: BothHalves, name: str) -> None:
    leg = LEGS.by_map[name, "finops"]
    app = both.environment.dataverse_app
    if not is_set_based(app, leg, LEGS):
        pytest.skip("written by the pipeline")
    table = CATALOG.table(leg.table_map.table)
    ids = await make_records(both, leg, 5)
    before = await rows_of(both, leg, ids)
    keys: dict[UUID, int] = {row[table.primary_id]: id_ for id_, row in before.items()}
    async with staged(both, leg, ids) as staging, undone(both) as context:
        load = ChunkLoad(app, leg, staging)
        outcome = await load.load(context, 0, LAST_BUCKET)
        assert outcome == Outcome(inserted=0, updated=0, unchanged=len(ids), waiting=0, refusals=[], left=[])

        relation = f'dataverse."{table.logical_name}"'
        await context.transaction.run(f'delete from {relation} where "{table.primary_id}" = any($1)', list(keys))
        first = await context.transaction.value("select last_value from isthmus.row_version")
        outcome = await load.load(context, 0, LAST_BUCKET)
        assert (outcome.inserted, outcome.refusals, outcome.left) == (len(ids), [], [])
        written = await context.transaction.rows(f"select * from {relation} where versionnumber > $1", first)
        shown = sorted((comparable(dict(row), table.primary_id) for row in written), key=str)
        expected = sorted((comparable(row, table.primary_id) for row in before.values()), key=str)
        assert shown == expected
    await delete(both.apps["finops"], leg.table_map.entity, *ids)


@pytest.mark.parametrize("name", NAMES)
async def test_chunks_update_what_differs(both: BothHalves, name: str) -> None:
    """A row that holds nothing of what its record gives becomes the row that live sync left; others are not touched."""
    leg = LEGS.by_map[name, "finops"]
    app = both.environment.dataverse_app
    if not is_set_based(app, leg, LEGS):
        pytest.skip("written by the pipeline")
    table = CATALOG.table(leg.table_map.table)
    key = {path.head.name for path, _ in key_rows(leg.table_map, CATALOG)} | {table.company_column}
    ids = await make_records(both, leg, 2)
    before = await rows_of(both, leg, ids)
    spoiled, other = before.values()
    mapped = {path.head.name for path in leg.paths.values()} - key
    states = {"statecode", "statuscode"}
    emptied = sorted(column for column in mapped - states if spoiled[column] is not None)
    async with staged(both, leg, ids) as staging, undone(both) as context:
        relation = f'dataverse."{table.logical_name}"'
        if emptied:
            changes = ", ".join(f'"{column}" = null' for column in emptied)
            await context.transaction.run(
                f'update {relation} set {changes} where "{table.primary_id}" = $1', spoiled[table.primary_id]
            )
        outcome = await ChunkLoad(app, leg, staging).load(context, 0, LAST_BUCKET)
        assert (outcome.inserted, outcome.refusals) == (0, [])
        assert outcome.updated + len(outcome.left) == bool(emptied)
        assert outcome.left in ([], ids[:1]) and (not outcome.left or name in BY_STEPS)
        found = await context.transaction.rows(
            f'select * from {relation} where "{table.primary_id}" = any($1)',
            [spoiled[table.primary_id], other[table.primary_id]],
        )
        rows = {row[table.primary_id]: dict(row) for row in found}
        assert rows[other[table.primary_id]] == other
        if outcome.updated:
            stands = rows[spoiled[table.primary_id]]
            assert comparable(stands, "modifiedby") == comparable(spoiled, "modifiedby")
            assert stands["versionnumber"] > spoiled["versionnumber"]
    await delete(both.apps["finops"], leg.table_map.entity, *ids)


BY_STEPS = {"msdyn_parties - CDS Parties", "accounts - Customers V3"}
"""Maps some of whose updates plug-in steps have to see."""


def test_which_maps_are_written_by_the_pipeline(both: BothHalves) -> None:
    """Those whose table has plug-in steps, or whose new rows have something to send on."""
    app = both.environment.dataverse_app
    assert {leg.name for leg in LEGS.all["finops"] if not is_set_based(app, leg, LEGS)} == {
        "annotations - Customer Attachments",
        "annotations - Purchase order header document attachments",
        "annotations - Sales order header document attachments",
        "annotations - Vendor document attachments",
        "cdm_companies - Legal entities",
        "contacts - CDS Contacts V2",
        "contacts - Customers V3",
        "leads - Prospects",
        "msdyn_inventoryonhandrequests - CDS inventory on-hand requests",
        "msdyn_partyelectronicaddresses - Party contacts V3",
        "msdyn_partypostaladdresses - CDS Party postal address locations",
        "msdyn_postaladdresses - CDS postal address history V2",
        "msdyn_purchaseorderproducts - CDS purchase order line soft deleted entity",
    }


ACCOUNTS, CURRENCIES = "accounts - Customers V3", "transactioncurrencies - Currencies"
REFUSED = [
    (ACCOUNTS, "description = repeat('x', 2001)", "text_too_long", ["description"], "x" * 2001, None),
    (ACCOUNTS, "customertypecode = 99", "option_not_found", ["customertypecode"], "99", None),
    (ACCOUNTS, "creditlimit = -1", "number_out_of_range", ["creditlimit"], "-1", None),
    (ACCOUNTS, "_faults = '{OnHoldStatus=9}'", "value_map_entry_missing", ["OnHoldStatus"], "9", None),
    (ACCOUNTS, "_company = 'none'", "lookup_not_found", ["msdyn_company"], "none", "company = none"),
    (ACCOUNTS, "_key = null", "integration_key_missing", ["customeraccount"], None, None),
    (CURRENCIES, "currencysymbol = null", "required_column", ["currencysymbol"], None, None),
]


@pytest.mark.parametrize(("name", "change", "code", "columns", "value", "parent"), REFUSED)
async def test_a_refused_record_says_why_and_the_others_are_written(
    both: BothHalves, name: str, change: str, code: str, columns: list[str], value: str | None, parent: str | None
) -> None:
    outcome, ids, written = await load_anew(both, name, f"update {{staging}} set {change} where _id = {{first}}")
    (refusal,) = outcome.refusals
    assert (refusal.record_id, refusal.written, refusal.code) == (str(ids[0]), False, code)
    assert (refusal.columns, refusal.value, refusal.missing_parent) == (columns, value, parent)
    assert (outcome.inserted, outcome.left, written) == (2, [], 2)


async def test_a_lookup_that_finds_nothing_is_left_out_and_named(both: BothHalves) -> None:
    change = """update {staging} set "msdyn_customergroupid.msdyn_groupid" = 'NONE' where _id = {first}"""
    outcome, ids, written = await load_anew(both, ACCOUNTS, change)
    (refusal,) = outcome.refusals
    assert (refusal.record_id, refusal.written, refusal.code) == (str(ids[0]), True, "lookup_not_found")
    assert (refusal.columns, refusal.value) == (["msdyn_customergroupid"], "NONE")
    assert (outcome.inserted, outcome.waiting, outcome.left, written) == (3, 1, [], 3)


LEFT = [
    "update {staging} set creditlimit = 1.005 where _id = {first}",
    """update {staging} set "msdyn_partyid.msdyn_partynumber" = null where _id = {first}""",
    "insert into isthmus.gate select 'accounts - Customers V3', _key from {staging} where _id = {first}",
    """update {staging} s set _key = o._key, accountnumber = o.accountnumber, _company = o._company
       from {staging} o where s._id = {first} and o._id = {last}""",
]


@pytest.mark.parametrize("change", LEFT, ids=["rounded", "plug-in step", "gated", "key clash"])
async def test_what_a_chunk_can_not_write_is_left_over(both: BothHalves, change: str) -> None:
    try:
        outcome, ids, written = await load_anew(both, ACCOUNTS, change)
    finally:
        await both.dataverse.execute("delete from isthmus.gate")
    assert outcome.left in ([ids[0]], [ids[-1]]) and outcome.refusals == []
    assert (outcome.inserted, written) == (2, 2)


async def test_rows_that_stand_are_left_alone_where_they_decide(both: BothHalves) -> None:
    leg = LEGS.by_map[ACCOUNTS, "finops"]
    ids = await make_records(both, leg, 2)
    change = "update {staging} set description = 'of the source'"
    async with staged(both, leg, ids, change) as staging, undone(both) as context:
        load = ChunkLoad(both.environment.dataverse_app, leg, staging, updates=False)
        outcome = await load.load(context, 0, LAST_BUCKET)
        assert outcome == Outcome(inserted=0, updated=0, unchanged=2, waiting=0, refusals=[], left=[])
    await delete(both.apps["finops"], leg.table_map.entity, *ids)


async def test_buckets_are_written_one_after_the_other(both: BothHalves) -> None:
    leg = LEGS.by_map[ACCOUNTS, "finops"]
    outcomes = []
    async with prepared(both, leg) as (staging, context, _):
        load = ChunkLoad(both.environment.dataverse_app, leg, staging)
        buckets = await context.transaction.rows(f"select distinct _bucket from {STAGING}.{staging} order by 1")
        for (bucket,) in buckets:
            outcomes.append(await load.load(context, bucket, bucket))
        assert len(buckets) > 1 and sum(outcome.inserted for outcome in outcomes) == 3


async def test_rows_that_a_polymorphic_lookup_finds_can_not_go_meanwhile(both: BothHalves) -> None:
    """No foreign key holds them: the chunk locks them as one would."""
    leg = LEGS.by_map["salesorders - CDS sales order headers", "finops"]
    async with prepared(both, leg) as (staging, context, _):
        wanted = "select min(customerid::text)::uuid from dataverse.salesorder where customeridtype = 'account'"
        lock = "select accountid from dataverse.account where accountid = $1 for update nowait"
        outcome = await ChunkLoad(both.environment.dataverse_app, leg, staging).load(context, 0, LAST_BUCKET)
        assert outcome.inserted == 3
        customer = await context.transaction.value(f"{wanted} and xmin::text = pg_current_xact_id()::xid::text")
        assert customer is not None
        with pytest.raises(asyncpg.LockNotAvailableError):
            await both.dataverse.fetchval(lock, customer)
    assert await both.dataverse.fetchval(lock, customer) == customer


@asynccontextmanager
async def prepared(both: BothHalves, leg: Leg, change: str = "") -> AsyncIterator[tuple[str, Context, list[int]]]:
    """Three staged records, changed, whose rows are gone from the table."""
    ids = await make_records(both, leg, 3)
    table = CATALOG.table(leg.table_map.table)
    keys = [row[table.primary_id] for row in (await rows_of(both, leg, ids)).values()]
    named = change.replace("{first}", str(ids[0])).replace("{last}", str(ids[-1]))
    async with staged(both, leg, ids, named) as staging, undone(both) as context:
        gone = f'delete from dataverse."{table.logical_name}" where "{table.primary_id}" = any($1)'
        await context.transaction.run(gone, keys)
        yield staging, context, ids
    await delete(both.apps["finops"], leg.table_map.entity, *ids)


async def load_anew(both: BothHalves, name: str, change: str) -> tuple[Outcome, list[int], int]:
    """The outcome of one chunk of three records, their ids, and how many rows it wrote."""
    leg = LEGS.by_map[name, "finops"]
    table = CATALOG.table(leg.table_map.table)
    async with prepared(both, leg, change) as (staging, context, ids):
        count = f'select count(*) from dataverse."{table.logical_name}"'
        before = await context.transaction.value(count)
        outcome = await ChunkLoad(both.environment.dataverse_app, leg, staging).load(context, 0, LAST_BUCKET)
        return outcome, ids, await context.transaction.value(count) - before
