"""Alert rules: what they refuse, when they fire, what they do, whom they tell; also with several processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from tests.support.receivers import mail_server, web_server
from tests.support.writing import create

from isthmus.config import Settings
from isthmus.dual_write import alert_watch, notify
from isthmus.dual_write.activity import ActivityFilter, ActivityLog, Entry, Kind, Record
from isthmus.dual_write.alert_settings import from_setting, to_setting
from isthmus.dual_write.alert_watch import AlertWatch
from isthmus.dual_write.alerts import Action, AlertRule, AlertRules, Threshold
from isthmus.environments.environment import Environment
from isthmus.errors import Conflict, NotFound, Rejected, Retriable

CUSTOMERS, VENDORS = "accounts - Customers V3", "msdyn_vendors - Vendors V2"
GROUPS = "msdyn_customergroups - Customer groups"
MAIL = "mailto://localhost:{port}/?from=isthmus@example.com&mode=insecure"


class Process:
    """One server process as far as alerts go: a pool, a log, a watch of its own, and the actions it carried out."""

    def __init__(self, pool: asyncpg.Pool, mail: str = "") -> None:
        self.pool = pool
        self.activity = ActivityLog(pool)
        self.rules = AlertRules(pool, self.activity, mail)
        self.watch = AlertWatch(pool, self.activity, self.act, mail_server=mail)
        self.acted: list[tuple[str, Action, str]] = []
        self.refusing: Exception | None = None

    async def act(self, table_map: str, action: Action, rule: str) -> None:
        if self.refusing is not None:
            raise self.refusing
        self.acted.append((table_map, action, rule))

    async def errors(self, count: int, table_map: str | None = CUSTOMERS, kind: Kind = "live_sync_error") -> None:
        await self.activity.record(
            *(
                Entry(
                    kind=kind,
                    table_map=table_map,
                    message=f"Record secret-{number}: no entry for 'red'.",
                    code="value_map_entry_missing",
                    records=[Record(half="finops", id=str(number), key=f"secret-{number}")],
                )
                for number in range(count)
            )
        )

    async def fired(self) -> list[tuple[str | None, int]]:
        """What fired so far, oldest first: table map and errors counted."""
        return [(alert.table_map, alert.errors) for alert in reversed(await self.rules.alerts())]


NewProcess = Callable[..., Awaitable[Process]]


@pytest.fixture
async def new_process(
    templates: dict[str, str], new_database: Callable[..., Awaitable[str]]
) -> AsyncIterator[NewProcess]:
    """Makes processes over one control database."""
    address = await new_database(templates["control"])
    async with AsyncExitStack() as stack:

        async def make(mail: str = "") -> Process:
            return Process(await stack.enter_async_context(asyncpg.create_pool(address, min_size=1, max_size=4)), mail)

        yield make


@pytest.fixture
async def process(new_process: NewProcess) -> Process:
    return await new_process()


def rule(**values: Any) -> AlertRule:
    given: dict[str, Any] = {"name": "Refusals", "threshold": Threshold(count=3), "action": "pause"}
    return AlertRule(**given | values)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": " "}, "name"),
        ({"error_types": ()}, "error_types"),
        ({"error_types": ("pause",)}, "error_types"),
        ({"threshold": Threshold(count=0)}, "threshold.count"),
        ({"threshold": Threshold(interval=0)}, "threshold.interval"),
        ({"threshold": Threshold(interval=366, unit="days")}, "threshold.interval"),
        ({"threshold": Threshold(interval=10**12, unit="seconds")}, "threshold.interval"),
        ({"action": "none"}, "notify"),
        ({"notify": ("somewhere",)}, "notify"),
        ({"notify": ("nosuch://host",)}, "notify"),
        ({"notify": ("jsons://",)}, "notify"),
        ({"notify": ("syslog://",)}, "notify"),
        ({"notify": ("ann@example.com",)}, "notify"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(process: Process, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(Rejected) as refused:
        await process.rules.create(rule(**wrong), "Ann")
    assert refused.value.details["field"] == field
    assert await process.rules.list() == []


async def test_rules_are_kept_changed_and_deleted_by_name_and_hand(process: Process) -> None:
    made = await process.rules.create(rule(), "Ann")
    assert (made.rule, made.changed_by) == (rule(), "Ann")
    with pytest.raises(Conflict):
        await process.rules.create(rule(name="REFUSALS"), "Ben")
    changed = await process.rules.replace(made.id, rule(name="Other", action="stop"), "Ben")
    assert (changed.rule.name, changed.rule.action, changed.changed_by) == ("Other", "stop", "Ben")
    assert await process.rules.list() == [changed]
    await process.rules.delete(made.id, "Ann")
    for missing in (process.rules.get(made.id), process.rules.replace(uuid4(), rule(), "Ann")):
        with pytest.raises(NotFound):
            await missing
    told = await process.activity.entries(ActivityFilter(kinds=("alert_rule_changed",)))
    assert [entry.principal for entry in reversed(told)] == ["Ann", "Ben", "Ann"]


async def test_secrets_of_addresses_are_never_shown_and_survive_a_change(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "jsons://ann:hunter2@hooks.example.com/path"
    made = await process.rules.create(rule(notify=(secret,)), "Ann")
    (shown,) = made.rule.notify
    assert "hunter2" not in shown and "hooks.example.com" in shown
    await process.rules.replace(made.id, msgspec.structs.replace(made.rule, action="stop"), "Ben")
    assert await process.pool.fetchval("select notify from isthmus.alert_rule") == [secret]
    with pytest.raises(Rejected) as refused:
        await process.rules.create(rule(name="B", notify=("jsons//ann:hunter2@x",)), "Ann")
    assert "hunter2" not in refused.value.message
    assert caplog.records == []


async def test_a_rule_fires_at_its_threshold_for_the_table_map_that_reached_it(process: Process) -> None:
    await process.rules.create(rule(error_types=("live_sync_error", "catch_up_error")), "Ann")
    await process.errors(2)
    await process.errors(2, VENDORS)
    await process.errors(9, kind="initial_sync_error")
    assert await process.watch.look() == 0
    await process.errors(1, kind="catch_up_error")
    assert await process.watch.look() == 1
    assert await process.fired() == [(CUSTOMERS, 3)]


async def test_a_rule_watches_the_table_maps_it_names(process: Process) -> None:
    await process.rules.create(rule(table_maps=(VENDORS,)), "Ann")
    await process.errors(5)
    await process.errors(5, table_map=None)
    assert await process.watch.look() == 0
    await process.errors(3, VENDORS)
    await process.watch.look()
    assert await process.fired() == [(VENDORS, 3)]


async def test_a_rule_that_is_off_stays_silent(process: Process) -> None:
    await process.rules.create(rule(enabled=False), "Ann")
    await process.errors(5)
    assert await process.watch.look() == 0


async def test_what_is_older_than_the_interval_does_not_count(process: Process) -> None:
    await process.rules.create(rule(threshold=Threshold(count=3, interval=10, unit="minutes")), "Ann")
    await process.errors(5)
    await process.pool.execute("update isthmus.activity set at = at - interval '11 minutes'")
    await process.errors(2)
    assert await process.watch.look() == 0


async def test_errors_from_before_a_rule_was_added_or_changed_do_not_count(process: Process) -> None:
    await process.errors(3)
    made = await process.rules.create(rule(), "Ann")
    assert await process.watch.look() == 0
    await process.errors(2)
    await process.rules.replace(made.id, rule(action="stop"), "Ann")
    await process.errors(2)
    assert await process.watch.look() == 0
    await process.errors(1)
    assert await process.watch.look() == 1
    assert await process.fired() == [(CUSTOMERS, 3)]


async def test_an_error_that_was_settled_within_the_interval_counts(process: Process) -> None:
    await process.rules.create(rule(), "Ann")
    await process.errors(3)
    settled = [Entry(kind="retried", table_map=CUSTOMERS, message="Sent.", about=about) for about in (1, 2, 3)]
    await process.activity.record(*settled)
    assert await process.watch.look() == 1


async def test_a_rule_keeps_quiet_until_its_interval_is_over(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_watch, "QUIET_INTERVAL", 0.0)
    await process.rules.create(rule(), "Ann")
    await process.errors(3)
    assert await process.watch.look() == 1
    await process.errors(100)
    assert await process.watch.look() == 0
    await process.pool.execute("update isthmus.alert set fired_at = fired_at - interval '16 minutes'")
    await process.pool.execute("update isthmus.activity set at = at - interval '16 minutes' where id % 103 < 50")
    assert await process.watch.look() == 1
    (_, first), (_, second) = await process.fired()
    assert (first, 0 < second < 100) == (3, True)


async def test_many_processes_fire_act_and_tell_once(new_process: NewProcess) -> None:
    """All begin at the same moment: they are held up by locks on what they write, and let go together."""
    async with web_server() as received:
        processes = [await new_process() for _ in range(4)]
        address = f"json://localhost:{received.port}/hook"
        for number in range(5):
            await processes[0].rules.create(rule(name=f"Rule {number}", notify=(address,)), "Ann")
        await processes[0].errors(3)
        for step, lock in (
            ("look", "lock table isthmus.alert in exclusive mode"),
            ("carry_out", "select from isthmus.alert for update"),
            ("send", "select from isthmus.notification for update"),
        ):
            async with processes[0].pool.acquire() as connection:
                async with connection.transaction():
                    await connection.execute(lock)
                    steps = [asyncio.create_task(getattr(process.watch, step)()) for process in processes]
                    await asyncio.sleep(0.3)
                await asyncio.gather(*steps, *(getattr(process.watch, step)() for process in processes))
    assert len(await processes[0].fired()) == 5
    acted = [name for process in processes for _, _, name in process.acted]
    assert sorted(acted) == [f"Rule {number}" for number in range(5)]
    assert len(received.bodies) == 5


async def test_a_rule_holds_at_once_in_every_process(new_process: NewProcess) -> None:
    """The rule is written in one process; the errors arrive in another, which acts within a second or two."""
    here, there = await new_process(), await new_process()
    running = [asyncio.create_task(process.watch.run()) for process in (here, there)]
    try:
        made = await here.rules.create(rule(), "Ann")
        await there.errors(3)
        await _until(lambda: here.acted or there.acted)
        assert here.acted + there.acted == [(CUSTOMERS, "pause", "Refusals")]
        await here.rules.replace(made.id, rule(action="stop", table_maps=(VENDORS,)), "Ann")
        await there.errors(3, VENDORS)
        await _until(lambda: len(here.acted + there.acted) == 2)
        assert (VENDORS, "stop", "Refusals") in here.acted + there.acted
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)


async def test_what_came_of_an_action_is_told(process: Process) -> None:
    await process.rules.create(rule(), "Ann")
    await process.errors(3)
    await process.watch.look()
    await process.watch.carry_out()
    (entry,) = await process.activity.entries(ActivityFilter(kinds=("alert_fired",)))
    assert (entry.result, entry.table_map, entry.details["action"]) == ("done", CUSTOMERS, "pause")
    (alert,) = await process.rules.alerts()
    assert (alert.state, alert.outcome) == ("done", "the table map was told to pause")


async def test_an_action_that_is_refused_is_tried_again_and_then_given_up(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_watch, "ATTEMPTS", 2)
    process.refusing = Retriable("Busy.")
    await process.rules.create(rule(), "Ann")
    await process.errors(3)
    await process.watch.look()
    await process.watch.carry_out()
    assert [alert.state for alert in await process.rules.alerts()] == ["waiting"]
    await process.watch.carry_out()
    assert process.acted == [], "it is tried again after a while only"
    await process.pool.execute("update isthmus.alert set due = now()")
    await process.watch.carry_out()
    (alert,) = await process.rules.alerts()
    assert alert.state == "failed" and "Busy." in (alert.outcome or "")
    (entry,) = await process.activity.entries(ActivityFilter(kinds=("alert_fired",)))
    assert entry.result == "error"


async def test_an_action_taken_by_a_process_that_died_is_taken_over(new_process: NewProcess) -> None:
    dead, alive = await new_process(), await new_process()
    await dead.rules.create(rule(), "Ann")
    await dead.errors(3)
    await dead.watch.look()
    taken = asyncio.Event()

    async def hang(*_: Any) -> None:
        taken.set()
        await asyncio.Event().wait()

    dead.watch._act = hang
    task = asyncio.create_task(dead.watch.carry_out())
    await taken.wait()
    await alive.watch.carry_out()
    assert alive.acted == [], "the process that took it has it to itself"
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await alive.pool.execute("update isthmus.alert set due = now()")
    await alive.watch.carry_out()
    assert alive.acted == [(CUSTOMERS, "pause", "Refusals")]


async def test_errors_without_table_map_tell_but_can_pause_nothing(process: Process) -> None:
    await process.rules.create(rule(error_types=("half_away",)), "Ann")
    await process.errors(3, None, "half_away")
    await process.watch.look()
    await process.watch.carry_out()
    (alert,) = await process.rules.alerts()
    assert (alert.table_map, alert.state, process.acted) == (None, "failed", [])


async def test_webhook_chat_and_mail_are_told_causes_but_no_values(new_process: NewProcess) -> None:
    async with web_server() as web, mail_server() as mail:
        process = await new_process(MAIL.format(port=mail.port))
        addresses = (
            f"json://localhost:{web.port}/hook",
            f"mmost://localhost:{web.port}/aaaaaaaaaaaaaaaaaaaaaaaa",
            "ann@example.com",
        )
        await process.rules.create(rule(notify=addresses), "Ann")
        await process.errors(3)
        await process.watch.look()
        assert await process.watch.send() == 3
        (alert,) = await process.rules.alerts()
        assert [told.outcome for told in alert.notifications] == ["taken by the service"] * 3
    assert sorted(path.split("/")[1] for path in web.paths) == ["hook", "hooks"]
    assert mail.paths == ["ann@example.com"]
    for body in (*web.bodies, *mail.bodies):
        assert CUSTOMERS in body and "value_map_entry_missing" in body
        assert "secret-" not in body and "'red'" not in body


async def test_a_service_that_fails_is_tried_again_and_its_answer_kept(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_watch, "ATTEMPTS", 3)
    async with web_server() as received:
        received.status = 503
        await process.rules.create(rule(notify=(f"json://user:hunter2@localhost:{received.port}/hook",)), "Ann")
        await process.errors(3)
        await process.watch.look()
        await process.watch.send()
        ((told,),) = [alert.notifications for alert in await process.rules.alerts()]
        assert (told.state, told.attempts) == ("waiting", 1)
        assert "503" in (told.outcome or "") and "hunter2" not in f"{told.outcome} {told.address}"
        assert await process.watch.send() == 0, "it is tried again after a while only"
        received.status = 200
        await process.pool.execute("update isthmus.notification set due = now()")
        await process.watch.send()
        ((told,),) = [alert.notifications for alert in await process.rules.alerts()]
        assert (told.state, told.attempts, told.sent_at is not None) == ("sent", 2, True)
    assert len(received.bodies) == 2


async def test_a_service_that_never_answers_well_is_given_up(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_watch, "ATTEMPTS", 2)
    await process.rules.create(rule(notify=("json://localhost:9/hook",)), "Ann")
    await process.errors(3)
    await process.watch.look()
    for _ in range(3):
        await process.watch.send()
        await process.pool.execute("update isthmus.notification set due = now()")
    ((told,),) = [alert.notifications for alert in await process.rules.alerts()]
    assert (told.state, told.attempts) == ("failed", 2)


async def test_a_plugin_that_fails_ends_nothing(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bool:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(notify, "_send", fail)
    await process.rules.create(rule(notify=("json://localhost:9/hook",)), "Ann")
    await process.errors(3)
    await process.watch.look()
    await process.watch.send()
    ((told,),) = [alert.notifications for alert in await process.rules.alerts()]
    assert told.state == "waiting" and "RuntimeError" in (told.outcome or "")


async def test_the_watch_removes_what_is_older_than_the_retention(process: Process) -> None:
    await process.errors(2)
    await process.pool.execute("update isthmus.activity set at = at - interval '8 days' where id = 1")
    watch = AlertWatch(process.pool, process.activity, process.act, retention=7)
    task = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(10):
            while not await process.activity.entries(ActivityFilter(kinds=("activity_purged",))):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        await asyncio.wait((task,))
    assert task.cancelled()
    assert len(await process.activity.entries(ActivityFilter(kinds=("live_sync_error",)))) == 1


def test_rules_travel_in_the_shape_of_the_connection_set() -> None:
    given = rule(error_types=("live_sync_error", "queue_alarm"), notify=("ann@example.com",), enabled=False)
    setting = to_setting(given)
    assert setting["threshold"] == {"count": 3, "interval": 15, "unitOfTime": "Minutes"}
    assert (setting["state"], setting["errorTypes"]) == ("Disabled", ["LiveSyncError", "QueueAlarm"])
    assert from_setting(setting) == given
    published = {"name": "A", "errorTypes": ["Application error"], "threshold": {"count": 10, "interval": 15}}
    published["threshold"]["unitOfTime"] = "minute"
    assert from_setting({**published, "action": "Pause"}).error_types == ("live_sync_error",)
    with pytest.raises(Rejected):
        from_setting({"name": "A"})


async def test_refused_saves_pause_the_table_map_for_all_processes(
    templates: dict[str, str], new_database: Callable[..., Awaitable[str]]
) -> None:
    """A fault of the Dataverse half refuses saves; the rule pauses the table map, and saves of any process go on."""
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    async with AsyncExitStack() as stack:
        here, there = [await Environment.open(Settings(pool_size=3, **addresses)) for _ in range(2)]
        for environment in (here, there):
            stack.push_async_callback(environment.close)
        dataverse = here.dataverse_app.pool.origin
        await here.dual_write.alert_rules.create(rule(), "Ann")
        await create(here.finops_app, "OMLegalEntity", {"legalentityid": "USMF", "name": "Contoso"})
        await dataverse.execute(
            "alter table dataverse.msdyn_customergroup add constraint closed check (msdyn_groupid is null)"
        )

        async def save(environment: Environment, number: int) -> None:
            group = {"dataareaid": "usmf", "customergroupid": f"G{number}", "description": "Group"}
            await create(environment.finops_app, "CustCustomerGroupEntity", group)

        for number in range(3):
            with pytest.raises(Exception, match="closed"):
                await save(there, number)
        async with asyncio.timeout(10):
            while (await here.dual_write.states.read([GROUPS]))[GROUPS].state != "paused":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for number, environment in enumerate((here, there)):
            await save(environment, number)
        counts = await here.dual_write.queue.counts([GROUPS])
        assert counts["finops"][GROUPS].waiting == 2
        found = (await here.dual_write.states.read([GROUPS]))[GROUPS]
        assert (found.reason, found.changed_by) == ("alert:Refusals", "alert rule Refusals")


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (the other process's work is seen from outside)
            await asyncio.sleep(0.02)
