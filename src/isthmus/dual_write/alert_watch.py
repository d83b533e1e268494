"""Watching the errors of table maps: rules fire, actions are carried out, people are told.

Every server process watches. A rule fires in one of them only: they look one after the other, and an alert that stands
keeps its rule quiet for that table map until the interval is over. What an alert calls for is taken by one process,
which has it to itself for a while; when it dies, another takes it. So an action happens at least once (it is the same
the second time), and a message is lost only if no attempt gets through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg

from isthmus.clock import monotonic
from isthmus.dual_write import notify
from isthmus.dual_write.activity import ActivityFilter, ActivityLog, Entry
from isthmus.dual_write.alerts import Action
from isthmus.dual_write.map_state import MapStates
from isthmus.errors import IsthmusError, Retriable, Unavailable
from isthmus.observe import log
from isthmus.store.transaction import DRIVER_ERRORS

INTERVAL = 1.0
"""Seconds between two looks when nothing happens in this process; an error recorded here is looked at right away."""

QUIET_INTERVAL = 15.0
"""Seconds between two looks while no entry and no rule is new: a rule that has fired may fire again as time goes by."""

LEASE = 2 * notify.SECONDS
"""Seconds that a process has an alert or a notification to itself."""

ATTEMPTS = 8
"""Times that a notification is tried, one more minute apart each time; an action that may pass is tried as often."""

PURGE_INTERVAL = 3600.0
"""Seconds between two purges of the activity log, where a retention is set."""

MOST_AT_ONCE = 8

_LOCK = 7_305_781_203
_TAKE_TURN = "select pg_advisory_xact_lock($1)"
_SEEN = """
select (select max(id) from isthmus.activity) as entry, count(*) as rules, max(changed_at) as changed
from isthmus.alert_rule where enabled
"""
_FIRE = """
with watched as (
    select r.*, make_interval(secs => r.interval * case r.unit
        when 'seconds' then 1 when 'minutes' then 60 when 'hours' then 3600 else 86400 end) as span
    from isthmus.alert_rule r where r.enabled
), counted as (
    select w.id, a.table_map, count(*) as errors, min(a.id) as first_entry, max(a.id) as last_entry
    from watched w join isthmus.activity a
        on a.kind = any(w.error_types) and a.at > greatest(w.changed_at, clock_timestamp() - w.span)
    where w.table_maps = '{}' or a.table_map = any(w.table_maps)
    group by w.id, a.table_map
), fired as (
    insert into isthmus.alert (rule, rule_name, table_map, errors, first_entry, last_entry, error_types, action)
    select w.id, w.name, c.table_map, c.errors, c.first_entry, c.last_entry, w.error_types, w.action
    from counted c join watched w using (id)
    where c.errors >= w.count and not exists (
        select from isthmus.alert b where b.rule = w.id and b.table_map is not distinct from c.table_map
            and b.fired_at > clock_timestamp() - w.span
    )
    returning id, rule, rule_name, table_map, errors
), told as (
    insert into isthmus.notification (alert, address)
    select f.id, address from fired f join watched w on w.id = f.rule cross join unnest(w.notify) as address
)
select * from fired
"""
_TAKE_ACTION = """
update isthmus.alert set attempts = attempts + 1, due = clock_timestamp() + make_interval(secs => $1) where id = (
    select id from isthmus.alert where state = 'waiting' and due <= clock_timestamp()
    order by id limit 1 for update skip locked
) returning id, rule_name, table_map, action, attempts, errors
"""
_END_ACTION = """
update isthmus.alert set state = $2, outcome = $3, due = clock_timestamp() + make_interval(secs => $4) where id = $1
"""
_TAKE_NOTIFICATIONS = """
update isthmus.notification set attempts = attempts + 1, due = clock_timestamp() + make_interval(secs => $1)
where id in (
    select id from isthmus.notification where state = 'waiting' and due <= clock_timestamp()
    order by due limit $2 for update skip locked
) returning id, alert, address, attempts
"""
_END_NOTIFICATION = """
update isthmus.notification set state = $2, outcome = $3, due = clock_timestamp() + make_interval(secs => $4),
    sent_at = case when $2 = 'sent' then clock_timestamp() end
where id = $1
"""

Act = Callable[[str, Action, str], Awaitable[None]]
"""Pauses or stops a table map in the name of a rule: (table map, action, name of the rule)."""


def act_by(states: MapStates) -> Act:
    """Carries actions out by changing the state of table maps."""

    async def act(table_map: str, action: Action, rule: str) -> None:
        by = f"alert rule {rule}"
        if action == "pause":
            await states.pause([table_map], by=by, reason=f"alert:{rule}")
        elif action == "stop":
            await states.change([table_map], "not_running", by=by)

    return act


class AlertWatch:
    """The watch of one process over the errors of an environment. `retention` is in days, 0 keeps entries for good."""

    def __init__(
        self, pool: asyncpg.Pool, activity: ActivityLog, act: Act, *, mail_server: str = "", retention: int = 0
    ) -> None:
        self._pool = pool
        self._activity = activity
        self._act = act
        self._mail_server = mail_server
        self._retention = retention
        self._seen: Any = None
        self._look_again = 0.0
        self._noticed = asyncio.Event()
        activity.noticed = self._noticed.set

    async def run(self) -> None:
        """Watch until cancelled. A database that is away is waited for; an error it does not know ends it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._send_all())

    async def _watch(self) -> None:
        next_purge = monotonic()
        while True:
            self._noticed.clear()
            try:
                await self.look()
                await self.carry_out()
                if self._retention and monotonic() >= next_purge:
                    next_purge = monotonic() + PURGE_INTERVAL
                    await self._activity.purge(self._retention)
            except DRIVER_ERRORS as error:
                log.warning("alerts_wait_for_database", error=str(error))
                await asyncio.sleep(INTERVAL)
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await self._noticed.wait()

    async def look(self) -> int:
        """Let the rules fire whose threshold is reached; how many did. Looks only where something may have changed."""
        seen = await self._pool.fetchrow(_SEEN)
        if not seen["rules"] or (seen == self._seen and monotonic() < self._look_again):
            return 0
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_TAKE_TURN, _LOCK)
            fired = await connection.fetch(_FIRE)
        self._seen, self._look_again = seen, monotonic() + QUIET_INTERVAL
        for alert in fired:
            log.warning("alert_fired", rule=alert["rule_name"], table_map=alert["table_map"], errors=alert["errors"])
        return len(fired)

    async def carry_out(self) -> None:
        """Carry out what the alerts that wait call for."""
        while (alert := await self._pool.fetchrow(_TAKE_ACTION, LEASE)) is not None:
            state, outcome = await self._action(alert)
            wait = 1.0 * alert["attempts"]
            await self._pool.execute(_END_ACTION, alert["id"], state, outcome, wait)
            if state == "waiting":
                continue
            await self._activity.record(
                Entry(
                    kind="alert_fired",
                    result="done" if state == "done" else "error",
                    table_map=alert["table_map"],
                    message=f"Alert rule '{alert['rule_name']}' fired after {alert['errors']} error(s): {outcome}.",
                    principal=f"alert rule {alert['rule_name']}",
                    details={"alert": alert["id"], "action": alert["action"]},
                )
            )

    async def send(self) -> int:
        """Tell those who are waiting to be told, a few at once; how many messages were tried."""
        taken = await self._pool.fetch(_TAKE_NOTIFICATIONS, LEASE, MOST_AT_ONCE)
        await asyncio.gather(*(self._send_one(notification) for notification in taken))
        return len(taken)

    async def _send_all(self) -> None:
        while True:
            try:
                tried = await self.send()
            except DRIVER_ERRORS as error:
                log.warning("notifications_wait_for_database", error=str(error))
                tried = 0
            if not tried:
                await asyncio.sleep(INTERVAL)

    async def _send_one(self, notification: Any) -> None:
        state, outcome, wait = "sent", "taken by the service", 0.0
        try:
            title, body = await self._message(notification["alert"])
            await notify.send(notification["address"], title, body, self._mail_server)
        except IsthmusError as error:
            state = "waiting" if notification["attempts"] < ATTEMPTS else "failed"
            outcome, wait = error.message, 60.0 * notification["attempts"]
            log.warning("notification_not_sent", attempts=notification["attempts"], reason=error.message)
        await self._pool.execute(_END_NOTIFICATION, notification["id"], state, outcome, wait)

    async def _action(self, alert: Any) -> tuple[str, str]:
        """Carry out one alert's action: the state it is in afterwards, and what came of it."""
        if alert["action"] == "none":
            return "done", "no action is asked for"
        if alert["table_map"] is None:
            return "failed", f"the errors name no table map, so there is none to {alert['action']}"
        try:
            await self._act(alert["table_map"], alert["action"], alert["rule_name"])
        except IsthmusError as error:
            may_pass = isinstance(error, (Retriable, Unavailable)) and alert["attempts"] < ATTEMPTS
            return (
                "waiting" if may_pass else "failed",
                f"the table map could not be made to {alert['action']}: {error.message}",
            )
        return "done", f"the table map was told to {alert['action']}"

    async def _message(self, id_: int) -> tuple[str, str]:
        """Title and text of a notification: counts and causes, no values of records."""
        alert = await self._pool.fetchrow("select * from isthmus.alert where id = $1", id_)
        groups = await self._activity.groups(
            ActivityFilter(
                table_map=alert["table_map"],
                kinds=tuple(alert["error_types"]),
                first=alert["first_entry"],
                last=alert["last_entry"],
            ),
            limit=5,
        )
        lines = [
            f"{alert['errors']} error(s) until {alert['fired_at']:%Y-%m-%d %H:%M:%S} UTC, entries "
            f"{alert['first_entry']} to {alert['last_entry']} of the activity log. Action: {alert['action']}.",
            *(f"{group.count} x {group.code or 'error'}: {group.cause}" for group in groups),
        ]
        where = alert["table_map"] or "the environment"
        return f"Isthmus: alert rule '{alert['rule_name']}' fired for {where}", "\n".join(lines)
