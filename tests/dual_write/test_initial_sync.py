"""Initial sync of all table maps between real halves: everything arrives once, refusals stay, live writes win."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import random
import signal
import sys
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.support.generated_drafts import field_of, path_of
from tests.support.initial_sync import KINDS, NewDatabase, Run, Side, opened
from tests.support.world import COMPANIES
from tests.support.writing import create, delete, update

from isthmus.apps.context import Context
from isthmus.apps.principal import Half
from isthmus.dual_write import fresh_delivery, staging
from isthmus.dual_write.delivery import project
from isthmus.dual_write.leg import Leg
from isthmus.dual_write.request_runner import Progress, RequestCancelled
from isthmus.dual_write.staged_load import StagedLoad
from isthmus.errors import NotFound, Retriable

GROUPS = "msdyn_customergroups - Customer groups"
TERMS = "msdyn_paymentterms - Terms of payment"
WAREHOUSES = "msdyn_warehouses - Warehouses"
CUSTOMERS = "accounts - Customers V3"
CURRENCIES = "transactioncurrencies - Currencies"
UNITS = "uoms - Units"
PARTIES = "msdyn_parties - CDS Parties"
GROUP_ENTITY, GROUP_TABLE = "CustCustomerGroupEntity", "msdyn_customergroup"


@pytest.fixture(scope="session")
def empty(templates: dict[str, str]) -> Side:
    """Databases in which nothing has happened."""
    return Side(templates)


async def refer_in_circles(run: Run, name: str) -> int:
    """Let the records of a map refer to one another in F&O, the last to the first; how many references that makes."""
    maker = run.halves.maker(name)
    (key,) = (row for row in maker.pairs if path_of(row).text == maker.table_map.integration_key[0])
    fields = [
        field_of(row)
        for row in maker.pairs
        if len(path_of(row).segments) == 2
        and maker.table.column[path_of(row).head].targets == (maker.table.logical_name,)
        and path_of(row).segments[1] == path_of(key).head
    ]
    records = await run.halves.oracle.finops_rows(maker.table_map)
    made = 0
    for company in COMPANIES if maker.is_company_specific else (None,):
        same = [record for record in records if company is None or record["dataareaid"] == company]
        changes = {
            record["recid"]: dict.fromkeys(fields, other[field_of(key)])
            for record, other in zip(same, [*same[1:], *same[:1]], strict=True)
        }
        await update(run.halves.apps["finops"], maker.table_map.entity, changes)
        made += len(changes) * len(fields)
    return made


@pytest.mark.timeout(900)
@pytest.mark.parametrize("master", ["finops", "dataverse"])
async def test_all_table_maps_into_an_empty_dataverse(
    filled: Side, templates: dict[str, str], new_database: NewDatabase, master: Half
) -> None:
    """Self and circular references in it, and records that must be refused, each with its reason."""
    async with opened(filled.with_empty("dataverse", templates), new_database) as run:
        assert await refer_in_circles(run, WAREHOUSES) > 0
        gone = await run.spoil(GROUPS, "paymenttermid", "no such terms")
        unknown = await run.spoil(TERMS, "paymentmethodtype", 77)
        await run.bring("initializing")
        summary = await run.run(master=master)
        refused = {(record.table_map, record.record_id): record for record in await run.all_refused()}

        group = refused.pop((GROUPS, str(gone["recid"])))
        assert (group.code, group.columns, group.written) == ("lookup_not_found", ["msdyn_paymenttermid"], True)
        assert group.missing_parent == "msdyn_paymenttermid.msdyn_name = no such terms"
        assert not group.pending
        terms = refused.pop((TERMS, str(unknown["recid"])))
        assert (terms.code, terms.value, terms.written) == ("value_map_entry_missing", "77", False)
        # What names the refused terms of payment lacks them, and nothing else is refused.
        assert {record.code for record in refused.values()} <= {"lookup_not_found"}
        assert all(str(unknown["name"]).lower() in (r.missing_parent or "").lower() for r in refused.values())

        assert await run.apart("finops") == []
        assert summary.refused[GROUPS] >= 1 and sum(part.inserted for part in summary.parts) > 500
        if master == "finops":
            again = await run.run(master=master)
            assert sum(part.inserted + part.updated for part in again.parts if part.source == "finops") == 0
            found = {(record.table_map, record.record_id) for record in await run.all_refused()}
            assert found == {*refused, (GROUPS, group.record_id), (TERMS, terms.record_id)}


@pytest.mark.timeout(900)
async def test_all_table_maps_into_an_empty_finops(
    filled: Side, templates: dict[str, str], new_database: NewDatabase
) -> None:
    """Records of tables that only F&O sends stay away, and what needs them with them: everything else arrives."""
    async with opened(filled.with_empty("finops", templates), new_database) as run:
        await run.make_companies()
        await run.bring("initializing")
        await run.run(master="dataverse")
        assert await run.apart("dataverse") == []
        codes = {record.code for record in await run.all_refused()}
        assert codes <= {"reference_not_found", "value_too_long"}
        warehouses = await run.all_refused(WAREHOUSES)
        assert warehouses == []


async def make_groups(run: Run, count: int, company: str = "usmf") -> list[int]:
    """Customer groups on F&O alone."""
    values = [
        {"dataareaid": company, "customergroupid": f"G{number:05}", "description": f"Group {number}"}
        for number in range(count)
    ]
    found: list[int] = []
    for begin in range(0, count, 500):
        found += await create(run.halves.apps["finops"], GROUP_ENTITY, *values[begin : begin + 500])
    return found


async def make_customers(run: Run, count: int) -> None:
    """Customers on F&O alone; towards Dataverse business logic in Python sees them, so they are carried singly."""
    values = [
        {
            "dataareaid": "usmf",
            "customeraccount": f"C{number:05}",
            "customergroupid": f"G{number:05}",
            "organizationname": f"Customer {number}",
            "partytype": "Organization",
            "salescurrencycode": "USD",
        }
        for number in range(count)
    ]
    await create(
        run.halves.apps["finops"], "CurrencyEntity", {"currencycode": "USD", "name": "US dollar", "symbol": "$"}
    )
    await create(run.halves.apps["finops"], "CustCustomerV3Entity", *values)


async def make_terms(run: Run) -> None:
    """Two terms of payment on F&O alone."""
    values = [{"dataareaid": "usmf", "name": name, "description": name} for name in ("Net10", "Net30")]
    await create(run.halves.apps["finops"], "PaymentTermEntity", *values)


async def descriptions(run: Run) -> tuple[dict[str, str], dict[str, str]]:
    """Descriptions of the groups by their keys: on F&O, on Dataverse."""
    records = await run.halves.finops.fetch("select dataareaid, customergroupid, description from finops.custgroup")
    rows = await run.halves.dataverse.fetch(
        "select lower(c.cdm_companycode) as company, g.msdyn_groupid, g.msdyn_description from "
        "dataverse.msdyn_customergroup g join dataverse.cdm_company c on c.cdm_companyid = g.msdyn_company"
    )
    return (
        {f"{r['dataareaid']} {r['customergroupid']}": r["description"] for r in records},
        {f"{r['company']} {r['msdyn_groupid']}": r["msdyn_description"] or "" for r in rows},
    )


async def test_the_master_decides_conflicts_and_each_half_gets_what_it_lacks(
    empty: Side, new_database: NewDatabase
) -> None:
    for master in ("finops", "dataverse"):
        async with opened(empty, new_database) as run:
            await run.settle_companies()
            ours, theirs = await differ(run)
            await run.bring("initializing", GROUPS)
            summary = await run.run(GROUPS, master=master)
            records, rows = await descriptions(run)
            assert records == rows
            assert rows["usmf ONLYF"] == "only F&O" and records["usmf ONLYD"] == "only Dataverse"
            wanted = "changed on F&O" if master == "finops" else "changed on Dataverse"
            assert {records[key] for key in (ours, theirs)} == {wanted}
            assert [part.inserted for part in summary.parts if part.company == "usmf"] == [1, 1]
            assert await run.all_refused() == []


async def differ(run: Run) -> tuple[str, str]:
    """Two groups that differ on both halves, the first changed last on F&O, the second on Dataverse; and one of each
    half alone."""
    apps = run.halves.apps
    await run.bring("running", GROUPS)
    await make_groups(run, 2)
    await run.bring("not_running", GROUPS)
    company = await run.halves.dataverse.fetchval(
        "select cdm_companyid from dataverse.cdm_company where lower(cdm_companycode) = 'usmf'"
    )
    await create(
        apps["finops"], GROUP_ENTITY, {"dataareaid": "usmf", "customergroupid": "ONLYF", "description": "only F&O"}
    )
    await create(
        apps["dataverse"],
        GROUP_TABLE,
        {"msdyn_company": company, "msdyn_groupid": "ONLYD", "msdyn_description": "only Dataverse"},
    )
    keys = await run.halves.finops.fetch(
        "select recid, customergroupid from finops.custgroup where dataareaid = 'usmf' and customergroupid <> 'ONLYF' "
        "order by recid limit 2"
    )
    pairs = []
    for record in keys:
        row = await run.halves.dataverse.fetchval(
            "select msdyn_customergroupid from dataverse.msdyn_customergroup where lower(msdyn_groupid) = lower($1) "
            "and msdyn_company = $2",
            record["customergroupid"],
            company,
        )
        pairs.append((record["recid"], row))
    for number, (recid, row) in enumerate(pairs):
        steps = [
            (apps["finops"], GROUP_ENTITY, {recid: {"description": "changed on F&O"}}),
            (apps["dataverse"], GROUP_TABLE, {row: {"msdyn_description": "changed on Dataverse"}}),
        ]
        for app, table, values in reversed(steps) if number == 0 else steps:
            await update(app, table, values)
            await asyncio.sleep(1.1)
    first, second = (f"usmf {record['customergroupid']}" for record in keys)
    return first, second


@pytest.mark.parametrize("master", ["finops", "dataverse"])
async def test_the_newest_change_decides_where_asked_for(empty: Side, new_database: NewDatabase, master: str) -> None:
    async with opened(empty, new_database) as run:
        await run.settle_companies()
        ours, theirs = await differ(run)
        await run.bring("initializing", GROUPS)
        await run.run(GROUPS, master=master, conflicts="newest")
        records, rows = await descriptions(run)
        assert records == rows
        assert (records[ours], records[theirs]) == ("changed on F&O", "changed on Dataverse")
        assert rows["usmf ONLYF"] == "only F&O" and records["usmf ONLYD"] == "only Dataverse"


async def test_companies_are_chosen_and_unknown_table_maps_refused(empty: Side, new_database: NewDatabase) -> None:
    async with opened(empty, new_database) as run:
        await run.settle_companies()
        for company in COMPANIES:
            await make_groups(run, 2, company)
        await run.bring("initializing", GROUPS)
        await run.run(GROUPS, master="finops", companies=("USMF",))
        _, rows = await descriptions(run)
        assert {key.split()[0] for key in rows} == {"usmf"}
        with pytest.raises(NotFound, match="no table map"):
            await run.run("no such map")


async def write_live(run: Run, recids: list[int], seed: int, stop: asyncio.Event) -> Counter[str]:
    """Change, delete and create customer groups on both halves, as fast as they take it, until told to stop."""
    choices, done = random.Random(seed), Counter[str]()
    apps, number = run.halves.apps, 0
    while not stop.is_set():
        number += 1
        kind = choices.choice(["update", "update", "back", "back", "delete", "remove", "create"])
        try:
            if kind == "create":
                values = {"dataareaid": "usmf", "customergroupid": f"N{seed}-{number}", "description": "new"}
                await create(apps["finops"], GROUP_ENTITY, values)
            elif kind in ("update", "delete"):
                recid = choices.choice(recids)
                if kind == "update":
                    await update(apps["finops"], GROUP_ENTITY, {recid: {"description": f"F {seed} {number}"}})
                else:
                    await delete(apps["finops"], GROUP_ENTITY, recid)
            else:
                row = await run.halves.dataverse.fetchval(
                    "select msdyn_customergroupid from dataverse.msdyn_customergroup tablesample bernoulli (20) "
                    "where msdyn_groupid like 'G%' limit 1"
                )
                if row is None:
                    continue
                if kind == "back":
                    await update(apps["dataverse"], GROUP_TABLE, {row: {"msdyn_description": f"D {seed} {number}"}})
                else:
                    await delete(apps["dataverse"], GROUP_TABLE, row)
        except (NotFound, Retriable):
            done["lost"] += 1
            continue
        done[kind] += 1
        await asyncio.sleep(0)
    return done


@pytest.mark.parametrize("in_sets", [True, False])
async def test_live_writes_go_on_and_win(
    empty: Side, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch, in_sets: bool
) -> None:
    """Nothing stale overwrites a later write on either half, and no deleted record comes back."""
    monkeypatch.setattr(staging, "CHUNK", 10)
    if not in_sets:
        monkeypatch.setattr(StagedLoad, "takes", lambda *_: False)
    async with opened(empty, new_database) as run:
        await run.settle_companies()
        recids = await make_groups(run, 400)
        await run.bring("initializing", GROUPS)
        stop = asyncio.Event()
        writers = [asyncio.create_task(write_live(run, recids, seed, stop)) for seed in range(3)]
        summary = await run.run(GROUPS, master="finops")
        await asyncio.sleep(0.2)
        stop.set()
        done = sum(await asyncio.gather(*writers), Counter[str]())
        records, rows = await descriptions(run)
        assert records == rows
        assert await run.all_refused() == []
        assert sum(part.inserted for part in summary.parts) > 200
        assert min(done[kind] for kind in ("update", "back", "delete", "remove", "create")) > 0, done


@pytest.mark.parametrize("name", [GROUPS, UNITS])
async def test_a_batch_keeps_live_saves_of_its_records_out(
    empty: Side, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A save that comes while the batch is under way waits for it, so that nothing older is written after it; of maps
    with record locks, and of those that go one way and have none."""
    monkeypatch.setattr(StagedLoad, "takes", lambda *_: False)
    async with opened(empty, new_database) as run:
        finops, entity = run.halves.apps["finops"], run.halves.catalog.table_maps[name].entity
        field = "description" if name == GROUPS else "unitdescription"
        if name == GROUPS:
            await run.settle_companies()
            (recid, *_) = await make_groups(run, 3)
        else:
            (recid,) = await create(finops, entity, {"unitsymbol": "ea", field: "before"})
        await run.bring("initializing", name)
        await run.run(name, master="finops")
        await run.bring("not_running", name)
        await update(finops, entity, {recid: {field: "changed meanwhile"}})
        await run.bring("initializing", name)
        saves: list[asyncio.Task[None]] = []

        async def project_then_save(context: Context, leg: Leg, ids: Any) -> Any:
            records = await project(context, leg, ids)
            if leg.source == "finops" and leg.name == name and recid in ids and not saves:
                saves.append(asyncio.create_task(update(finops, entity, {recid: {field: "saved last"}})))
                await asyncio.wait(saves, timeout=0.15)
            return records

        monkeypatch.setattr(fresh_delivery, "project", project_then_save)
        await run.run(name, master="finops")
        await saves[0]
        assert await run.apart("finops", name) == []
        table_map = run.halves.catalog.table_maps[name]
        record = await run.halves.oracle.finops_row(table_map, recid)
        assert record is not None and record[field] == "saved last"


@pytest.mark.timeout(900)
async def test_it_goes_on_where_it_was_killed(empty: Side, new_database: NewDatabase) -> None:
    """A process that is killed at random commits, again and again: each record is written and counted once."""
    async with opened(empty, new_database) as run:
        await run.settle_companies()
        await make_groups(run, 300)
        await make_customers(run, 120)
        names = (CURRENCIES, PARTIES, GROUPS, CUSTOMERS)
        await run.bring("initializing", *names)
        request, kills = uuid4(), 0
        while (code := await run_process(run, request, names, crash="before_answer:0.2")) != 0:
            assert code == -signal.SIGKILL
            kills += 1
            assert kills < 200
        assert kills > 1
        # Nothing is left to do, and the counts are those of one run.
        summary = await run.run(*names, request=request, master="finops")
        assert await run.all_refused() == []
        first = [part for part in summary.parts if part.source == "finops"]
        assert all(part.step == "done" for part in summary.parts)
        assert sum(part.inserted for part in first) == sum(part.total - part.skipped for part in first)
        records, rows = await descriptions(run)
        assert records == rows and len(rows) >= 300
        accounts = await run.halves.dataverse.fetchval("select count(distinct accountnumber) from dataverse.account")
        assert accounts == await run.halves.dataverse.fetchval("select count(*) from dataverse.account") == 120


async def run_process(run: Run, request: UUID, names: tuple[str, ...], crash: str) -> int:
    """Run the initial sync in a process of its own; how that ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.initial_sync_process",
        str(request),
        *(run.addresses[kind] for kind in KINDS),
        *names,
        env={**os.environ, "ISTHMUS_CRASH_POINT": crash, "ISTHMUS_RECOVERY_AGE": "0.2"},
    )
    return await process.wait()


async def test_a_cancelled_run_stops_and_another_one_ends_it(
    empty: Side, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "CHUNK", 10)
    async with opened(empty, new_database) as run:
        await run.settle_companies()
        await make_groups(run, 200)
        await run.bring("initializing", GROUPS)

        class Cancelling(Progress):
            def report(self, table_map: str, **counts: Any) -> None:
                super().report(table_map, **counts)
                self.cancelled = table_map == GROUPS and counts["done"] >= 50

        with pytest.raises(RequestCancelled):
            await run.run(GROUPS, master="finops", progress=Cancelling())
        records, rows = await descriptions(run)
        assert 50 <= len(rows) < len(records)
        await run.bring("not_running", GROUPS)
        await run.bring("initializing", GROUPS)
        progress = Progress()
        await run.run(GROUPS, master="finops", progress=progress)
        records, rows = await descriptions(run)
        assert records == rows
        parts = {
            (part["leg"], part["company"]): part for part in json.loads(progress.text()) if part["table_map"] == GROUPS
        }
        assert parts["finops", "usmf"]["done"] == parts["finops", "usmf"]["total"] >= 200
        left = await run.halves.dataverse.fetchval(
            "select count(*) from pg_tables where schemaname = 'isthmus_staging'"
        )
        assert left == 0


async def test_errors_are_corrected_and_run_alone(empty: Side, new_database: NewDatabase) -> None:
    async with opened(empty, new_database) as run:
        await run.settle_companies()
        await make_terms(run)
        await make_groups(run, 2)
        await run.spoil(TERMS, "paymentmethodtype", 77)
        gone = await run.spoil(GROUPS, "paymenttermid", "no such terms")
        names = (TERMS, GROUPS)
        await run.bring("initializing", *names)
        await run.run(*names, master="finops")
        refused = await run.all_refused()
        assert {record.code for record in refused} == {"value_map_entry_missing", "lookup_not_found"}
        text = "".join([piece async for piece in run.refused.csv(table_map=GROUPS)])
        lines = list(csv.DictReader(io.StringIO(text)))
        assert [line["record_id"] for line in lines if "no such terms" in line["missing_parent"]] == [
            str(gone["recid"])
        ]

        await run.halves.finops.execute(
            "update finops.custgroup set paymenttermid = '' where recid = $1", gone["recid"]
        )
        summary = await run.run(GROUPS, master="finops", errors_only=True)
        still = await run.all_refused(GROUPS)
        assert gone["recid"] not in {int(record.record_id) for record in still}
        assert summary.refused[GROUPS] == len(still)
        (terms,) = await run.all_refused(TERMS)
        assert terms.attempts == 1 and terms.record is not None

        await run.spoil(TERMS, "paymentmethodtype", 0)
        await run.run(*names, master="finops", errors_only=True)
        assert await run.all_refused() == []
        records, rows = await descriptions(run)
        assert records == rows


async def test_a_refused_record_is_given_up(empty: Side, new_database: NewDatabase) -> None:
    async with opened(empty, new_database) as run:
        await run.settle_companies()
        await make_terms(run)
        await run.spoil(TERMS, "paymentmethodtype", 77)
        await run.bring("initializing", TERMS)
        await run.run(TERMS, master="finops")
        (terms,) = await run.all_refused()
        key = terms.record_key or ""
        assert key.endswith(f", {terms.company}")
        for given in (key, key.upper(), key.replace(", ", "\x1f")):
            assert await run.refused.list("dataverse", key=given) == [terms]
        assert await run.refused.list("dataverse", key="another") == []
        with pytest.raises(NotFound, match="read the list again"):
            await run.refused.dismiss("dataverse", [terms.id, terms.id + 1])
        await run.refused.dismiss("dataverse", [terms.id])
        assert await run.all_refused() == []
