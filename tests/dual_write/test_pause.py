"""What becomes of changes while a table map is paused, stopped or initializing, and while a half is away."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import pytest
from tests.support.callers import CALLER
from tests.support.cuttable import Cuttable
from tests.support.writing import call, create, delete, update

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.apps.pipeline import Stage, Step
from isthmus.apps.principal import Half
from isthmus.config import Settings
from isthmus.dual_write.activity import ActivityFilter, Entry
from isthmus.dual_write.fence import State
from isthmus.dual_write.findings import HALVES_FIRST
from isthmus.dual_write.leg import PARTNER
from isthmus.dual_write.queue import QueuedChange
from isthmus.environments.environment import Environment
from isthmus.environments.management import _resend
from isthmus.errors import NotFound, Rejected, Unavailable
from isthmus.store import two_phase
from isthmus.store.transaction import Transaction

ACCOUNTS = "accounts - Customers V3"
GROUPS = "msdyn_customergroups - Customer groups"
COMPANY = "paus"


class Pair:
    """An environment whose halves can be cut off, with a company, a customer group and a currency."""

    def __init__(self, environment: Environment, wires: dict[str, Cuttable]) -> None:
        self.environment = environment
        self.wires = wires
        self.finops = environment.finops_app
        self.dataverse = environment.dataverse_app
        self.states = environment.dual_write.states
        self.queue = environment.dual_write.queue

    async def make_parents(self) -> None:
        await create(self.finops, "CurrencyEntity", {"currencycode": "PAU", "name": "Pause", "symbol": "P"})
        await create(self.finops, "OMLegalEntity", {"legalentityid": COMPANY, "name": "Pausers"})
        await create(
            self.finops,
            "CustCustomerGroupEntity",
            {"dataareaid": COMPANY, "customergroupid": "P", "description": "Paused"},
        )

    async def customer(self, number: str, **values: Any) -> int:
        """A customer of this number, by way of F&O; its RecId."""
        (recid,) = await create(
            self.finops,
            "CustCustomerV3Entity",
            {
                "dataareaid": COMPANY,
                "customeraccount": number,
                "organizationname": f"Customer {number}",
                "partytype": "Organization",
                "customergroupid": "P",
                "salescurrencycode": "PAU",
                **values,
            },
        )
        return int(recid)

    async def account(self, number: str) -> Any:
        return await self.dataverse.pool.origin.fetchrow(
            "select * from dataverse.account where accountnumber = $1", number
        )

    async def limit_on_finops(self, number: str) -> Decimal:
        found: Decimal = await self.finops.pool.origin.fetchval(
            "select creditlimit from finops.custcustomerv3entity where customeraccount = $1", number
        )
        return found

    async def limit(self, app: Any, id_: int | UUID, value: int) -> None:
        table = "account" if isinstance(id_, UUID) else "CustCustomerV3Entity"
        await update(app, table, {id_: {"creditlimit": Decimal(value)}})

    async def set(self, state: State, *table_maps: str, reason: str | None = None) -> None:
        """Write a state into both halves, past all rules."""
        for app in (self.finops, self.dataverse):
            await app.pool.origin.execute(
                "update isthmus.table_map_state set state = $2, reason = $3, pauses_itself = false "
                "where table_map = any($1)",
                table_maps,
                state,
                reason,
            )

    async def close(self, half: Half, *, is_open: bool = False) -> None:
        """Have the server let nobody into the database of a half; `is_open`: let us in again."""
        address = urlsplit(self.wires[half].server_dsn)
        connection = await asyncpg.connect(urlunsplit(address._replace(path="/postgres")))
        name = address.path.removeprefix("/")
        await connection.execute(f'alter database "{name}" allow_connections {is_open}')
        if not is_open:
            await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        await connection.close()

    async def fail(self, *ids: int) -> None:
        """Have changes in the queue of F&O stand as refused."""
        await self.finops.pool.origin.execute(
            "update isthmus.queued_change set status = 'failed', code = 'x' where id = any($1)", ids
        )

    async def queued(self, half: Half, table_map: str = ACCOUNTS, **filters: Any) -> list[QueuedChange]:
        return await self.queue.list(half, table_map, **filters)


@pytest.fixture(scope="session")
async def made(templates: dict[str, str], new_database: Callable[..., Awaitable[str]]) -> AsyncIterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="cut") as folder:
        wires = {}
        for kind, template in templates.items():
            (Path(folder) / kind).mkdir()
            wires[kind] = Cuttable(await new_database(template), Path(folder) / kind)
            await wires[kind].mend()
        addresses = {f"{kind}_dsn": wire.dsn for kind, wire in wires.items()}
        environment = await Environment.open(Settings(pool_size=5, queue_alarm_rows=3, **addresses))
        try:
            environment.dual_write._watch._resume = None
            pair = Pair(environment, wires)
            await pair.make_parents()
            yield pair
        finally:
            await environment.close()
            for wire in wires.values():
                await wire.cut()


@pytest.fixture
async def pair(made: Pair) -> AsyncIterator[Pair]:
    """Both halves there, every table map running, nothing queued."""
    yield made
    for wire in made.wires.values():
        await wire.mend()
    for app in (made.finops, made.dataverse):
        await app.pool.origin.execute("delete from isthmus.queued_change")
        await app.pool.origin.execute("delete from isthmus.gate")
        await app.pool.origin.execute(
            "update isthmus.table_map_state set state = 'running', reason = null, pauses_itself = false, "
            "queue_alarm_at = null"
        )


async def test_changes_of_a_paused_map_wait_on_the_half_they_were_made_on(pair: Pair) -> None:
    recid = await pair.customer("Q1", creditlimit=Decimal(1))
    row = (await pair.account("Q1"))["accountid"]
    await pair.states.change([ACCOUNTS], "paused", by="test", reason="manual")
    await pair.limit(pair.finops, recid, 2)
    await pair.limit(pair.dataverse, row, 3)
    assert (await pair.account("Q1"))["creditlimit"] == 3
    assert await pair.limit_on_finops("Q1") == 2
    (there,) = await pair.queued("finops")
    assert (there.operation, there.record_id, there.record_key, there.company) == (
        "upsert",
        str(recid),
        f"q1, {COMPANY}",
        COMPANY,
    )
    assert there.new_values == {"creditlimit"}
    assert there.record.values["creditlimit"] == "2.0000000000" or Decimal(there.record.values["creditlimit"]) == 2
    assert there.principal == CALLER.object_id
    (here,) = await pair.queued("dataverse")
    assert (here.record_id, here.new_values) == (str(row), {"creditlimit"})


async def test_each_change_is_kept_as_the_record_was_then(pair: Pair) -> None:
    """A, then B, then gone: the record that can't be read any more still has its history."""
    recid = await pair.customer("Q2", creditlimit=Decimal(1))
    await pair.set("paused", ACCOUNTS)
    for value in (2, 3, 4):
        await pair.limit(pair.finops, recid, value)
    await delete(pair.finops, "CustCustomerV3Entity", recid)
    changes = await pair.queued("finops")
    assert [change.operation for change in changes] == ["upsert", "upsert", "upsert", "delete"]
    assert [Decimal(change.record.values["creditlimit"]) for change in changes] == [2, 3, 4, 4]
    assert {change.record_key for change in changes} == {f"q2, {COMPANY}"}
    assert await pair.account("Q2") is not None


async def test_new_record_waits_whole(pair: Pair) -> None:
    await pair.set("paused", ACCOUNTS)
    await pair.customer("Q3", creditlimit=Decimal(9))
    assert await pair.account("Q3") is None
    (change,) = await pair.queued("finops")
    assert change.new_values is None
    assert change.record.values["accountnumber"] == "Q3"


async def test_refused_save_queues_nothing(pair: Pair) -> None:
    recid = await pair.customer("Q4")
    await pair.set("paused", ACCOUNTS)
    with pytest.raises(Rejected):
        await update(
            pair.finops,
            "CustCustomerV3Entity",
            {recid: {"creditlimit": Decimal(5), "customergroupid": "no such group"}},
        )
    assert await pair.queued("finops") == []


async def test_changes_of_a_stopped_map_go_nowhere(pair: Pair) -> None:
    recid = await pair.customer("Q5", creditlimit=Decimal(1))
    await pair.set("not_running", ACCOUNTS)
    await pair.limit(pair.finops, recid, 2)
    await pair.limit(pair.dataverse, (await pair.account("Q5"))["accountid"], 3)
    await delete(pair.finops, "CustCustomerV3Entity", recid)
    assert (await pair.account("Q5"))["creditlimit"] == 3
    assert await pair.queued("finops") == await pair.queued("dataverse") == []


async def test_paused_map_is_saved_while_its_partner_is_away(pair: Pair) -> None:
    recid = await pair.customer("Q6", creditlimit=Decimal(1))
    row = (await pair.account("Q6"))["accountid"]
    await pair.set("paused", ACCOUNTS)
    await pair.wires["dataverse"].cut()
    await pair.limit(pair.finops, recid, 2)
    assert len(await pair.queued("finops")) == 1
    await pair.wires["dataverse"].mend()
    await pair.wires["finops"].cut()
    await pair.limit(pair.dataverse, row, 3)
    await pair.wires["finops"].mend()
    assert len(await pair.queued("dataverse")) == 1


async def test_what_the_partner_works_out_for_a_paused_map_waits_there(pair: Pair) -> None:
    """Logic of F&O that describes the customer's group after its newest limit."""
    await pair.customer("Q7")
    found = await pair.account("Q7")
    group = await pair.finops.pool.origin.fetchval(
        "select recid from finops.custcustomergroupentity where customergroupid = 'P'"
    )

    async def describe(context: Context, message: Message) -> None:
        if message.rows[0].values.get("creditlimit") == 777:
            row = Row(id=group, values={"description": "Group of 777"})
            await pair.finops.execute(
                context, Message(operation=Operation.UPDATE, table="CustCustomerGroupEntity", rows=[row])
            )

    pair.finops.pipeline.register(Step(stage=Stage.POST_OPERATION, handler=describe, table="CustCustomerV3Entity"))
    await pair.set("paused", GROUPS)
    await pair.limit(pair.dataverse, found["accountid"], 777)
    assert await pair.limit_on_finops("Q7") == 777
    (change,) = await pair.queued("finops", GROUPS)
    assert (change.record_id, change.new_values) == (str(group), {"msdyn_description"})
    assert change.principal == CALLER.object_id
    assert await pair.queued("dataverse", GROUPS) == []


async def test_refusal_for_a_row_whose_map_is_paused_says_so(pair: Pair) -> None:
    await pair.set("paused", GROUPS)
    await create(
        pair.finops, "CustCustomerGroupEntity", {"dataareaid": COMPANY, "customergroupid": "LATE", "description": "L"}
    )
    with pytest.raises(Rejected, match="Unable to lookup msdyn_customergroupid") as refusal:
        await pair.customer("Q8", customergroupid="LATE")
    assert f"table map '{GROUPS}' is paused, with changes that wait in its queue" in refusal.value.message


async def test_changes_of_a_record_stay_behind_one_that_was_refused(pair: Pair) -> None:
    """Everybody else is live."""
    blocked, free = await pair.customer("Q9"), await pair.customer("Q10")
    await pair.set("paused", ACCOUNTS)
    await pair.limit(pair.finops, blocked, 2)
    await pair.fail(*(change.id for change in await pair.queued("finops")))
    await pair.set("running", ACCOUNTS)
    await pair.limit(pair.finops, blocked, 3)
    await pair.limit(pair.finops, free, 4)
    assert [Decimal(change.record.values["creditlimit"]) for change in await pair.queued("finops")] == [2, 3]
    assert (await pair.account("Q9"))["creditlimit"] in (None, 0)
    assert (await pair.account("Q10"))["creditlimit"] == 4
    await delete(pair.finops, "CustCustomerV3Entity", blocked)
    await delete(pair.finops, "CustCustomerV3Entity", free)
    assert [change.operation for change in await pair.queued("finops")] == ["upsert", "upsert", "delete"]
    assert await pair.account("Q9") is not None
    assert await pair.account("Q10") is None


async def test_initializing_map_carries_changes_and_keeps_initial_sync_away(pair: Pair) -> None:
    recid = await pair.customer("Q11", creditlimit=Decimal(1))
    await pair.set("initializing", ACCOUNTS)
    await pair.limit(pair.finops, recid, 2)
    assert (await pair.account("Q11"))["creditlimit"] == 2
    marks = "select table_map from isthmus.gate where key = $1"
    for app in (pair.finops, pair.dataverse):
        assert [mark[0] for mark in await app.pool.origin.fetch(marks, f"q11\x1f{COMPANY}")] == [ACCOUNTS]


async def test_initializing_map_marks_a_record_whose_key_the_partner_gives(pair: Pair) -> None:
    """Nobody knows the account's number before F&O has drawn it."""
    await pair.customer("Q22")
    like = await pair.account("Q22")
    given = ("customertypecode", "msdyn_company", "msdyn_customergroupid", "transactioncurrencyid")
    await pair.set("initializing", ACCOUNTS)
    (row,) = await create(pair.dataverse, "account", {"name": "Numberless", **{name: like[name] for name in given}})
    number = await pair.dataverse.pool.origin.fetchval(
        "select accountnumber from dataverse.account where accountid = $1", row
    )
    marks = "select count(*) from isthmus.gate where key = $1"
    for app in (pair.finops, pair.dataverse):
        assert await app.pool.origin.fetchval(marks, f"{number.lower()}\x1f{COMPANY}") == 1


async def test_initializing_map_marks_what_it_deletes(pair: Pair) -> None:
    recid = await pair.customer("Q12")
    await pair.set("initializing", ACCOUNTS)
    await delete(pair.finops, "CustCustomerV3Entity", recid)
    assert await pair.account("Q12") is None
    marks = "select count(*) from isthmus.gate where key = $1"
    for app in (pair.finops, pair.dataverse):
        assert await app.pool.origin.fetchval(marks, f"q12\x1f{COMPANY}") == 1


async def test_mark_stands_even_when_the_partner_had_nothing_to_change(pair: Pair) -> None:
    recid = await pair.customer("Q13", creditlimit=Decimal(1))
    row = (await pair.account("Q13"))["accountid"]
    await pair.set("not_running", ACCOUNTS)
    await pair.limit(pair.dataverse, row, 2)
    await pair.set("initializing", ACCOUNTS)
    await pair.limit(pair.finops, recid, 2)
    marks = "select count(*) from isthmus.gate where key = $1"
    assert await pair.dataverse.pool.origin.fetchval(marks, f"q13\x1f{COMPANY}") == 1


async def test_stopping_a_paused_map_needs_a_word_about_its_queue(pair: Pair) -> None:
    recid = await pair.customer("Q14")
    row = (await pair.account("Q14"))["accountid"]
    await pair.states.change([ACCOUNTS], "paused", by="test")
    await pair.limit(pair.finops, recid, 2)
    await pair.limit(pair.dataverse, row, 3)
    for state in ("not_running", "running"):
        with pytest.raises(Rejected, match="in the queue: 2") as refusal:
            await pair.states.change([ACCOUNTS], state, by="test")
        assert refusal.value.code == "table_map_queue_not_empty"
    await pair.states.change([ACCOUNTS], "not_running", by="test", queued="discard", reason="not wanted")
    assert await pair.queued("finops") == [] == await pair.queued("dataverse")
    (gone,) = await pair.queued("finops", statuses=("dismissed",))
    assert (gone.dismissed_by, gone.dismissed_reason) == ("test", "not wanted")
    assert gone.dismissed_at is not None


async def test_queue_is_listed_filtered_retried_and_dismissed(pair: Pair) -> None:
    first, second = await pair.customer("Q15"), await pair.customer("Q16")
    await pair.set("paused", ACCOUNTS)
    for value in (1, 2, 3):
        await pair.limit(pair.finops, first, value)
    await pair.limit(pair.finops, second, 4)
    changes = await pair.queued("finops")
    assert len(changes) == 4
    assert await pair.queued("finops", after=changes[1].id, limit=1) == [changes[2]]
    assert changes[3].record_key == changes[3].record.key == f"q16, {COMPANY}"
    for key in (f"q16\x1f{COMPANY}", f"q16, {COMPANY}", f"Q16, {COMPANY.upper()}"):
        assert await pair.queued("finops", key=key) == [changes[3]]
    await pair.fail(changes[0].id)
    counts = (await pair.queue.counts([ACCOUNTS]))["finops"][ACCOUNTS]
    assert (counts.waiting, counts.failed) == (3, 1)
    assert await pair.queue.retry("finops", ACCOUNTS) == 1
    with pytest.raises(NotFound):
        await pair.queue.retry("finops", ACCOUNTS, [changes[0].id])
    assert await pair.queue.dismiss("finops", ACCOUNTS, [changes[0].id], by="test", reason="wrong") == 1
    assert [change.id for change in await pair.queued("finops")] == [change.id for change in changes[1:]]
    with pytest.raises(NotFound):
        await pair.queue.dismiss("finops", ACCOUNTS, [changes[0].id], by="test", reason="wrong")


async def test_queued_changes_are_retried_and_dismissed_all_or_none(pair: Pair) -> None:
    recid = await pair.customer("Q40")
    await pair.set("paused", ACCOUNTS)
    for value in (1, 2):
        await pair.limit(pair.finops, recid, value)
    refused, waiting = [change.id for change in await pair.queued("finops")]
    await pair.fail(refused)
    unknown = waiting + 1000
    with pytest.raises(NotFound, match=f"no refused change {waiting}, {unknown} in"):
        await pair.queue.retry("finops", ACCOUNTS, [unknown, waiting, refused])
    with pytest.raises(NotFound, match=f"no waiting or refused change {unknown} in"):
        await pair.queue.dismiss("finops", ACCOUNTS, [refused, waiting, unknown], by="test", reason="wrong")
    assert [change.status for change in await pair.queued("finops")] == ["failed", "waiting"]
    assert await pair.queue.dismiss("finops", ACCOUNTS, [waiting, refused, refused], by="test", reason="wrong") == 2


async def test_long_queue_raises_one_alarm(pair: Pair) -> None:
    recid = await pair.customer("Q17")
    await pair.set("paused", ACCOUNTS)
    for value in range(5):
        await pair.limit(pair.finops, recid, value + 1)
    watch = pair.environment.dual_write._watch
    for _ in range(2):
        await watch._raise_alarms()
    entries = await pair.environment.activity.entries(ActivityFilter(table_map=ACCOUNTS, kinds=("queue_alarm",)))
    assert len(entries) == 1
    assert "More than 3 changes" in entries[0].message
    await pair.finops.pool.origin.execute("delete from isthmus.queued_change")
    assert list(await pair.queue.newly_long(3)) == []
    for value in range(5):
        await pair.limit(pair.finops, recid, value + 10)
    assert list(await pair.queue.newly_long(3)) == [("finops", ACCOUNTS)], "short in between"


async def test_database_that_lets_nobody_in_is_away(pair: Pair) -> None:
    """Its server answers; everything that runs in the background goes on."""
    await pair.customer("Q18C", creditlimit=Decimal(1))
    await pair.states.set_pauses_itself([ACCOUNTS], True)
    await pair.close("dataverse")
    try:
        path = f"/data/CustomersV3(dataAreaId='{COMPANY}',CustomerAccount='Q18C')?cross-company=true"
        status, _ = await call(pair.environment.finops, "PATCH", path, {"CreditLimit": 5})
        assert status == 204
        assert len(await pair.queued("finops")) == 1
        assert await pair.environment.recovery.run_once() == 0
        assert not await pair.environment.ready()
        await asyncio.sleep(1.5)
    finally:
        await pair.close("dataverse", is_open=True)
    environment = pair.environment
    assert environment._recovering is not None
    assert not [task for task in (environment._recovering, *environment.dual_write._tasks) if task.done()]
    assert await pair.states.reconcile(by="test") == [ACCOUNTS]


async def test_map_that_may_pauses_itself_while_its_partner_is_away(pair: Pair) -> None:
    await pair.customer("Q18", creditlimit=Decimal(1))
    await pair.states.set_pauses_itself([ACCOUNTS], True)
    await pair.wires["dataverse"].cut()
    path = f"/data/CustomersV3(dataAreaId='{COMPANY}',CustomerAccount='Q18')?cross-company=true"
    status, _ = await call(pair.environment.finops, "PATCH", path, {"CreditLimit": 5})
    assert status == 204
    assert await pair.limit_on_finops("Q18") == 5
    assert len(await pair.queued("finops")) == 1
    assert (await pair.states.read([ACCOUNTS]))[ACCOUNTS].reason == "partner_away"
    (told,) = await pair.environment.activity.entries(ActivityFilter(table_map=ACCOUNTS, kinds=("paused",)), limit=1)
    assert told.result == "done" and "whose partner does not answer" in told.message
    await pair.wires["dataverse"].mend()
    for _ in range(100):
        if (await pair.states.read([ACCOUNTS], half="dataverse"))[ACCOUNTS].state == "paused":
            break
        await asyncio.sleep(0.1)
    assert await pair.states.reconcile(by="test") == [ACCOUNTS], "and may resume"
    await pair.limit(pair.dataverse, (await pair.account("Q18"))["accountid"], 6)
    assert len(await pair.queued("dataverse")) == 1


@pytest.mark.parametrize("half", ["dataverse", "finops"])
async def test_map_that_may_not_refuses_while_its_partner_is_away(pair: Pair, half: Half) -> None:
    await pair.customer("Q19" + half, creditlimit=Decimal(1))
    row = (await pair.account("Q19" + half))["accountid"]
    await pair.wires[half].cut()
    if half == "dataverse":
        path = f"/data/CustomersV3(dataAreaId='{COMPANY}',CustomerAccount='Q19{half}')?cross-company=true"
        status, _ = await call(pair.environment.finops, "PATCH", path, {"CreditLimit": 5})
    else:
        path = f"/api/data/v9.2/accounts({row})"
        status, _ = await call(pair.environment.dataverse, "PATCH", path, {"creditlimit": 5})
    assert status == 503
    await pair.wires[half].mend()
    assert (await pair.account("Q19" + half))["creditlimit"] == 1
    assert await pair.limit_on_finops("Q19" + half) == 1
    key = f"q19{half}, {COMPANY}"
    activity = pair.environment.activity
    (entry,) = await activity.entries(ActivityFilter(kinds=("half_away",), table_map=ACCOUNTS, key=key))
    assert (entry.origin, entry.refused_by, entry.record_key) == (PARTNER[half], None, key)
    assert f"{HALVES_FIRST[half]} is away" in entry.message
    (outcome,) = await activity.retry([entry.id], "Ann", partial(_resend, pair.environment.dual_write.repair))
    assert outcome.result == "done"
    assert await activity.entries(ActivityFilter(kinds=("half_away",), key=key, open_only=True)) == []


@pytest.mark.parametrize("half", ["dataverse", "finops"])
async def test_records_made_and_deleted_in_vain_are_told_by_table_map(pair: Pair, half: Half) -> None:
    recid = await pair.customer("Q22" + half)
    row = (await pair.account("Q22" + half))["accountid"]
    (newest,) = await pair.environment.activity.entries(limit=1) or [Entry(kind="run", message="")]
    await pair.wires[half].cut()
    with pytest.raises(Unavailable, match=f"record q22{half}, {COMPANY}"):
        if half == "dataverse":
            await delete(pair.finops, "CustCustomerV3Entity", recid)
        else:
            await delete(pair.dataverse, "account", row)
    with pytest.raises(Unavailable, match="Table map '"):
        if half == "dataverse":
            await pair.customer("Q23" + half)
        else:
            await create(pair.dataverse, "account", {"name": "Q23", "customertypecode": 3})
    await pair.wires[half].mend()
    *made, deleted = await pair.environment.activity.entries(ActivityFilter(kinds=("half_away",), first=newest.id + 1))
    assert (deleted.table_map, deleted.record_key) == (ACCOUNTS, f"q22{half}, {COMPANY}")
    assert made and all(entry.table_map and entry.records for entry in made)


async def test_partner_lost_while_it_prepares_pauses_the_map_and_nothing_is_on_one_half_only(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.customer("Q20", creditlimit=Decimal(1))
    row = (await pair.account("Q20"))["accountid"]
    await pair.states.set_pauses_itself([ACCOUNTS], True)
    true_prepare = two_phase._prepare

    async def cut(origin: Transaction, partner: Transaction, gid: str) -> None:
        await pair.wires["finops"].cut()
        await true_prepare(origin, partner, gid)

    monkeypatch.setattr(two_phase, "_prepare", cut)
    status, _ = await call(pair.environment.dataverse, "PATCH", f"/api/data/v9.2/accounts({row})", {"creditlimit": 5})
    assert status == 204
    monkeypatch.undo()
    await pair.wires["finops"].mend()
    assert (await pair.account("Q20"))["creditlimit"] == 5
    assert await pair.limit_on_finops("Q20") == 1
    assert len(await pair.queued("dataverse")) == 1


async def test_many_records_of_one_save_are_queued_in_the_order_they_were_changed(pair: Pair) -> None:
    recids = [await pair.customer(f"Q21-{number}") for number in range(5)]
    await pair.set("paused", ACCOUNTS)
    order = [recids[index] for index in (3, 1, 4, 0, 2)]
    async with pair.finops.context(CALLER, correlation_id="one save") as context:
        for recid in order:
            row = Row(id=recid, values={"creditlimit": Decimal(recid % 1000)})
            await pair.finops.execute(
                context, Message(operation=Operation.UPDATE, table="CustCustomerV3Entity", rows=[row])
            )
        await context.commit()
    changes = await pair.queued("finops")
    assert [int(change.record_id) for change in changes] == order
    assert {change.correlation_id for change in changes} == {"one save"}
