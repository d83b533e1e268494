"""Catch-up: what was changed while a table map was paused arrives once, in order; nothing refused stops the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.conftest import NewDatabase
from tests.support.callers import CALLER
from tests.support.customer_groups import GROUPS, TERMS, Site, until
from tests.support.writing import create, delete, update

from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.apps.principal import Half
from isthmus.config import Settings
from isthmus.dual_write import backlog
from isthmus.dual_write.activity import Entry
from isthmus.environments.environment import Environment
from isthmus.store.transaction import Transaction


@pytest.fixture(scope="module")
async def opened(templates: dict[str, str], new_database: NewDatabase) -> AsyncIterator[Site]:
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    environment = await Environment.open(Settings(pool_size=8, **addresses))
    try:
        site = Site(environment)
        await create(site.finops, "OMLegalEntity", {"legalentityid": "USMF", "name": "Contoso"})
        yield site
    finally:
        await environment.close()


@pytest.fixture
async def site(opened: Site) -> Site:
    await opened.start_over()
    return opened


async def test_changes_arrive_in_the_order_they_were_made_and_each_of_them(site: Site) -> None:
    recid = await site.group("10", "start")
    row = await site.row("10")
    site.sent.clear()
    await site.pause()
    await site.describe(recid, "A", "B", "C")
    await update(
        site.dataverse, "msdyn_customergroup", {row["msdyn_customergroupid"]: {"msdyn_issalestaxincludedinprice": True}}
    )
    assert (await site.row("10"))["msdyn_description"] == "start"
    assert site.sent == []
    request = await site.resume()
    assert (request.state, request.message) == ("completed", None)
    assert await site.states() == ["running"]
    assert site.descriptions("dataverse") == ["A", "B", "C"]
    assert (await site.row("10"))["msdyn_description"] == "C"
    assert (await site.record("10"))["issalestaxincludedinprice"] == 1
    assert await site.queued("finops") == await site.queued("dataverse") == []
    [part] = request.progress
    assert (part.table_map, part.done, part.refused) == (GROUPS, 4, 0)


async def test_record_that_came_and_went_goes_through_what_it_was(site: Site) -> None:
    site.sent.clear()
    await site.pause()
    recid = await site.group("20", "first")
    await site.describe(recid, "second")
    await delete(site.finops, "CustCustomerGroupEntity", recid)
    again = await site.group("20", "third")
    await site.describe(again, "fourth")
    assert (await site.resume()).state == "completed"
    operations = [operation for half, operation, _ in site.sent if half == "dataverse"]
    assert operations == ["Create", "Update", "Delete", "Create", "Update"]
    assert site.descriptions("dataverse") == ["first", "second", "third", "fourth"]
    assert (await site.row("20"))["msdyn_description"] == "fourth"


async def test_new_key_that_the_partner_refuses_makes_no_second_record(site: Site) -> None:
    await site.group("30", "to be renamed")
    id_ = (await site.row("30"))["msdyn_customergroupid"]
    await site.pause()
    await update(site.dataverse, "msdyn_customergroup", {id_: {"msdyn_groupid": "31"}})
    assert (await site.resume()).state == "completed"
    assert await site.record("31") is None
    [refused] = await site.queued("dataverse", status="failed")
    assert "key" in refused.message


@pytest.mark.parametrize("master", ["finops", "dataverse"])
async def test_value_set_on_both_halves_is_the_masters_and_everything_else_crosses(site: Site, master: Half) -> None:
    number = f"{master[0]}40"
    recid = await site.group(number, "start")
    id_ = (await site.row(number))["msdyn_customergroupid"]
    await site.pause()
    await site.describe(recid, "by finops")
    await update(
        site.dataverse,
        "msdyn_customergroup",
        {id_: {"msdyn_description": "by dataverse", "msdyn_issalestaxincludedinprice": True}},
    )
    assert (await site.resume(master=master)).state == "completed"
    row, record = await site.row(number), await site.record(number)
    assert row["msdyn_description"] == record["description"] == f"by {master}"
    assert row["msdyn_issalestaxincludedinprice"] is True
    assert record["issalestaxincludedinprice"] == 1
    [entry] = await site.entries("conflict")
    assert entry.details["columns"] == ["msdyn_description"]
    assert entry.details["winner"] == master
    assert entry.details["finops"]["msdyn_description"] == "by finops"
    assert entry.details["dataverse"]["description"] == "by dataverse"
    loser: Half = "dataverse" if master == "finops" else "finops"
    [lost] = await site.queued(loser, status="dismissed")
    assert lost.new_values == {"description" if loser == "dataverse" else "msdyn_description"}


@pytest.mark.parametrize("master", ["finops", "dataverse"])
async def test_delete_against_a_change_is_decided_by_the_master(site: Site, master: Half) -> None:
    number = f"{master[0]}50"
    recid = await site.group(number, "start")
    id_ = (await site.row(number))["msdyn_customergroupid"]
    await site.pause()
    await delete(site.finops, "CustCustomerGroupEntity", recid)
    await update(site.dataverse, "msdyn_customergroup", {id_: {"msdyn_description": "kept"}})
    assert (await site.resume(master=master)).state == "completed"
    row, record = await site.row(number), await site.record(number)
    if master == "finops":
        assert row is None
        assert record is None
    else:
        assert row["msdyn_description"] == record["description"] == "kept"
    assert len(await site.entries("conflict")) == 1


async def test_refused_change_holds_its_record_back_and_nothing_else(site: Site) -> None:
    """A payment term that the partner does not have yet: the group waits for it, and goes on by itself."""
    await site.pause(GROUPS, TERMS)
    await site.term("N30")
    poisoned = await site.group("60", "one", paymenttermid="N30")
    await site.describe(poisoned, "two")
    await site.group("61", "free")
    request = await site.resume(GROUPS)
    assert (request.state, await site.states(GROUPS, TERMS)) == ("completed", ["running", "paused"])
    assert (await site.row("61"))["msdyn_description"] == "free"
    assert await site.row("60") is None
    [refused] = await site.queued("finops", status="failed")
    assert (refused.code, refused.attempts, refused.field) == ("lookup_not_found", 1, "msdyn_paymenttermid")
    assert TERMS in refused.message
    assert [change.record.values["msdyn_description"] for change in await site.queued("finops")] == ["two"]
    assert [entry.code for entry in await site.entries("catch_up_error")] == ["lookup_not_found"]
    assert await site.open("catch_up_error") == 1
    # Live now: other records cross at once, this one's changes go on behind each other.
    await site.group("62", "live")
    assert (await site.row("62"))["msdyn_description"] == "live"
    await site.describe(poisoned, "three")
    assert len(await site.queued("finops")) == 2
    site.sent.clear()
    assert (await site.resume(TERMS)).state == "completed"
    await site.until_delivered("finops")
    assert site.descriptions("dataverse")[-3:] == ["one", "two", "three"]
    assert await site.open("catch_up_error") == 0
    await site.describe(poisoned, "four")
    assert (await site.row("60"))["msdyn_description"] == "four"


async def test_errors_of_an_initial_sync_are_open_until_their_records_are_carried(site: Site) -> None:
    await site.dual_write.states.change([GROUPS, TERMS], "not_running", by="tester")
    recid = await site.group("63", paymenttermid="N63")
    assert (await site.run(GROUPS, master="finops")).code == "initial_sync_refused"
    assert await site.open("initial_sync_error") == 1
    await site.environment.activity.record(Entry(kind="live_sync_error", table_map=GROUPS, message="No."))
    await update(site.finops, "CustCustomerGroupEntity", {recid: {"paymenttermid": ""}})
    assert (await site.run(GROUPS, master="finops", errors_only=True)).state == "completed"
    assert await site.open("initial_sync_error") == 0
    assert await site.open("live_sync_error") == 1, "of a refused save nothing is kept"
    assert len(await site.entries("initial_sync_error")) == 1


async def test_change_refused_for_a_missing_row_goes_on_when_an_initial_sync_has_brought_that(site: Site) -> None:
    await site.pause(GROUPS)
    await site.dual_write.states.change([TERMS], "not_running", by="tester")
    await site.term("N64")
    await site.group("64", "with terms", paymenttermid="N64")
    assert (await site.resume(GROUPS)).state == "completed"
    [refused] = await site.queued("finops", status="failed")
    assert refused.code == "lookup_not_found"
    assert (await site.run(TERMS, master="finops")).state == "completed"
    await site.until_delivered("finops")
    assert (await site.row("64"))["msdyn_paymenttermid"] is not None


async def test_live_save_of_the_other_half_takes_the_newer_values_out_of_what_waits(site: Site) -> None:
    recid = await site.group("65", "start")
    id_ = (await site.row("65"))["msdyn_customergroupid"]
    await site.pause(GROUPS, TERMS)
    await site.term("N50")
    await update(site.finops, "CustCustomerGroupEntity", {recid: {"description": "older", "paymenttermid": "N50"}})
    assert (await site.resume(GROUPS)).state == "completed"
    assert len(await site.queued("finops", status="failed")) == 1
    await update(site.dataverse, "msdyn_customergroup", {id_: {"msdyn_description": "newer"}})
    assert (await site.record("65"))["description"] == "newer"
    [waiting] = await site.queued("finops", status="failed")
    assert waiting.new_values == {"msdyn_paymenttermid.msdyn_name"}
    [lost] = await site.queued("finops", status="dismissed")
    assert (lost.new_values, lost.dismissed_reason.partition(":")[0]) == ({"msdyn_description"}, "superseded")
    assert (await site.resume(TERMS)).state == "completed"
    await site.until_delivered("finops")
    row = await site.row("65")
    assert (row["msdyn_description"], row["msdyn_paymenttermid"] is not None) == ("newer", True)


async def test_changes_of_one_save_stay_together_in_the_smallest_batch(site: Site) -> None:
    """They may refer to each other in a circle: each alone would be refused."""
    await site.pause()
    async with site.finops.context(CALLER, correlation_id="one save") as context:
        rows = [Row(values={"dataareaid": "usmf", "customergroupid": number}) for number in ("70", "71", "72")]
        await site.finops.execute(
            context, Message(operation=Operation.CREATE, table="CustCustomerGroupEntity", rows=rows)
        )
        await context.commit()
    await site.group("73")
    transaction = Transaction(site.finops.pool.origin)
    await transaction.begin()
    try:
        smallest = await backlog.next_changes(transaction, [GROUPS], 1)
        alone = await backlog.next_changes(transaction, [GROUPS], 0)
    finally:
        await transaction.close()
    assert [change.record.values["msdyn_groupid"] for change in smallest] == ["70", "71", "72"]
    assert [change.id for change in alone] == [smallest[0].id]


async def test_batch_with_refused_changes_shrinks_until_only_they_stay(site: Site) -> None:
    site.unwelcome = {"bad 3", "bad 17"}
    await site.pause()
    for number in range(30):
        await site.group(f"S{number}", f"bad {number}")
    assert (await site.resume()).state == "completed"
    refused = await site.queued("finops", status="failed")
    assert [(change.record.values["msdyn_groupid"], change.code) for change in refused] == [
        ("S3", "unwelcome"),
        ("S17", "unwelcome"),
    ]
    arrived = await site.dataverse.pool.origin.fetch(
        "select msdyn_groupid from dataverse.msdyn_customergroup where msdyn_groupid like 'S%'"
    )
    assert len(arrived) == 28
    site.unwelcome.clear()
    before = await site.open("catch_up_error")
    await site.dual_write.queue.dismiss("finops", GROUPS, [refused[0].id], by="tester", reason="not needed")
    assert before - await site.open("catch_up_error") == refused[0].attempts
    await site.dual_write.queue.retry("finops", GROUPS)
    await site.until_delivered("finops")
    assert await site.row("S17") is not None
    assert await site.row("S3") is None


async def test_going_live_at_once_keeps_the_order_of_each_record(site: Site) -> None:
    recid = await site.group("80", "start")
    site.sent.clear()
    await site.pause()
    await site.describe(recid, "A", "B")
    request = await site.resume(live="keep")
    assert (request.state, await site.states()) == ("completed", ["running"])
    await site.describe(recid, "C")
    assert site.descriptions("dataverse") == ["A", "B", "C"]


async def test_discarded_queue_stays_listed(site: Site) -> None:
    recid = await site.group("90", "start")
    site.sent.clear()
    await site.pause()
    await site.describe(recid, "A", "B")
    request = await site.resume(live="discard")
    assert (request.state, await site.states()) == ("completed", ["running"])
    assert site.sent == []
    assert [change.dismissed_by for change in await site.queued("finops", status="dismissed")] == ["tester"] * 2
    await site.describe(recid, "C")
    assert (await site.row("90"))["msdyn_description"] == "C"


async def test_table_map_that_is_not_paused_is_not_resumed(site: Site) -> None:
    await site.dual_write.states.change([GROUPS], "not_running", by="tester")
    request = await site.resume()
    assert (request.state, request.code) == ("error", "table_map_transition")
    assert await site.states() == ["not_running"]


async def test_table_map_that_paused_itself_resumes_itself(site: Site) -> None:
    await site.group("95", "start")
    await site.dual_write.states.pause_alone([GROUPS], "finops", by="tester")
    record = await site.record("95")
    await site.describe(record["recid"], "while away")

    async def is_live() -> bool:
        states = [await site.dual_write.states.read([GROUPS], half) for half in ("finops", "dataverse")]
        return all(found[GROUPS].state == "running" for found in states)

    await until(is_live)
    assert (await site.row("95"))["msdyn_description"] == "while away"


async def test_cancelled_catch_up_leaves_the_table_map_paused(site: Site) -> None:
    await site.pause()
    for number in range(5):
        await site.group(f"K{number}")
    blocker = Transaction(site.finops.pool.origin)
    await blocker.begin()
    await blocker.run("select * from isthmus.queued_change for update")
    try:
        id_ = await site.dual_write.requests.submit("resume", [GROUPS], {}, "tester")

        async def is_resuming() -> bool:
            return (await site.dual_write.states.read([GROUPS]))[GROUPS].state == "resuming"

        await until(is_resuming)
        await site.dual_write.requests.cancel(id_)
        request = await site.ended(id_)
    finally:
        await blocker.close()
    assert (request.state, await site.states()) == ("cancelled", ["paused"])
    assert len(await site.queued("finops")) == 5
    assert (await site.resume()).state == "completed"
    assert await site.row("K4") is not None
