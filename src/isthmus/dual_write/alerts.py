"""Alert rules: how many errors of which kinds, within which time, call for whom and stop what.

A rule counts per table map, each error that happens after the rule was last written, also one that is settled
meanwhile: how often something fails is what it watches. What has been written holds at once in every process: rules
are read whenever errors are looked at (see alert_watch).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal, get_args
from uuid import UUID

import asyncpg
import msgspec

from isthmus.dual_write import notify
from isthmus.dual_write.activity import ERROR_KINDS, ActivityLog, Entry, ErrorKind
from isthmus.errors import Conflict, NotFound, Rejected
from isthmus.ids import new_row_id
from isthmus.store.pool import fetch

Unit = Literal["seconds", "minutes", "hours", "days"]
Action = Literal["none", "pause", "stop"]

LONGEST = timedelta(days=365)
MOST_ERRORS = 1_000_000


class Threshold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many errors of one table map within so much time."""

    count: int = 1
    interval: int = 15
    unit: Unit = "minutes"


class AlertRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. `table_maps` of none means all; `notify` are addresses as `apprise` writes them, or e-mail addresses.

    Addresses hold secrets: rules that are read show them with the secret parts hidden, and an address that is given as
    it was shown stays as it is.
    """

    name: str
    enabled: bool = True
    error_types: tuple[ErrorKind, ...] = ("live_sync_error",)
    table_maps: tuple[str, ...] = ()
    threshold: Threshold = Threshold()
    notify: tuple[str, ...] = ()
    action: Action = "none"


class StoredRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as it is kept: who changed it last, and when."""

    id: UUID
    rule: AlertRule
    changed_at: datetime
    changed_by: str


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What became of telling one address: `outcome` is the last answer of the service."""

    address: str
    state: Literal["waiting", "sent", "failed"]
    attempts: int
    outcome: str | None
    sent_at: datetime | None


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that fired for a table map: the errors counted, from the first entry of the log to the last."""

    id: int
    rule: UUID
    rule_name: str
    table_map: str | None
    fired_at: datetime
    errors: int
    first_entry: int
    last_entry: int
    action: Action
    state: Literal["waiting", "done", "failed"]
    outcome: str | None
    notifications: list[Notification]


Rules = list[StoredRule]
Alerts = list[Alert]

_COLUMNS = "name, enabled, error_types, table_maps, count, interval, unit, notify, action, changed_by"
_INSERT = f"insert into isthmus.alert_rule (id, {_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"  # noqa: S608  (constants)
_UPDATE = f"""
update isthmus.alert_rule set ({_COLUMNS}, changed_at) = ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, clock_timestamp())
where id = $1 returning id
"""  # noqa: S608  (constants)
_ALERTS = """
select to_json(x)::text from (
    select a.id, a.rule, a.rule_name, a.table_map, a.fired_at, a.errors, a.first_entry, a.last_entry, a.action, a.state,
        a.outcome, coalesce((select json_agg(n order by n.id) from isthmus.notification n where n.alert = a.id), '[]')
        as notifications
    from isthmus.alert a
    where ($1::uuid is null or a.rule = $1) and ($2::text is null or a.table_map = $2)
        and ($3::bigint is null or a.id < $3)
    order by a.id desc limit $4
) x
"""


class AlertRules:
    """The rules of an environment, in its control database. `mail_server` is what plain e-mail addresses go through."""

    def __init__(self, pool: asyncpg.Pool, activity: ActivityLog, mail_server: str = "") -> None:
        self._pool = pool
        self._activity = activity
        self._mail_server = mail_server

    async def list(self) -> Rules:
        """All rules by name, secrets of their addresses hidden."""
        rows = await fetch(self._pool, "select * from isthmus.alert_rule order by lower(name)")
        return [_stored(row) for row in rows]

    async def get(self, id_: UUID) -> StoredRule:
        """One rule. NotFound when there is none of this id."""
        return _stored(await self._row(id_))

    async def create(self, rule: AlertRule, by: str) -> StoredRule:
        """Add a rule. Rejected (`alert_rule`, `alert_address`) or Conflict (`alert_rule_exists`)."""
        id_ = new_row_id()
        await self._write(_INSERT, id_, rule, rule.notify, by)
        return await self._changed(id_, f"Alert rule '{rule.name}' was created.", by)

    async def replace(self, id_: UUID, rule: AlertRule, by: str) -> StoredRule:
        """Put a rule in the place of the one with this id."""
        known = {notify.shown(address): address for address in (await self._row(id_))["notify"]}
        await self._write(_UPDATE, id_, rule, tuple(known.get(address, address) for address in rule.notify), by)
        return await self._changed(id_, f"Alert rule '{rule.name}' was changed.", by)

    async def delete(self, id_: UUID, by: str) -> None:
        """Remove a rule; the alerts that it gave stay. NotFound when there is none of this id."""
        name = (await self._row(id_))["name"]
        await fetch(self._pool, "delete from isthmus.alert_rule where id = $1", id_)
        await self._record(f"Alert rule '{name}' was deleted.", by)

    async def alerts(
        self,
        *,
        rule: UUID | None = None,
        table_map: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Alerts:
        """What fired, newest first, with what came of it; the next page are those `before` the last id of this one."""
        rows = await fetch(self._pool, _ALERTS, rule, table_map, before, max(1, min(limit, 1000)))
        alerts = [msgspec.json.decode(row[0], type=Alert) for row in rows]
        return [
            msgspec.structs.replace(
                alert,
                notifications=[
                    msgspec.structs.replace(sent, address=notify.shown(sent.address)) for sent in alert.notifications
                ],
            )
            for alert in alerts
        ]

    async def _row(self, id_: UUID) -> Any:
        rows = await fetch(self._pool, "select * from isthmus.alert_rule where id = $1", id_)
        if not rows:
            raise NotFound(f"There is no alert rule {id_}.", code="alert_rule_not_found", id=str(id_))
        return rows[0]

    async def _write(self, sql: str, id_: UUID, rule: AlertRule, addresses: tuple[str, ...], by: str) -> None:
        _check(rule)
        for address in addresses:
            notify.check(address, self._mail_server)
        threshold = rule.threshold
        try:
            await fetch(
                self._pool,
                sql,
                id_,
                rule.name,
                rule.enabled,
                list(dict.fromkeys(rule.error_types)),
                list(dict.fromkeys(rule.table_maps)),
                threshold.count,
                threshold.interval,
                threshold.unit,
                list(dict.fromkeys(addresses)),
                rule.action,
                by,
            )
        except asyncpg.UniqueViolationError as error:
            raise Conflict(
                f"There is an alert rule named '{rule.name}' already. Give this one another name, or change that one.",
                code="alert_rule_exists",
                field="name",
            ) from error

    async def _changed(self, id_: UUID, message: str, by: str) -> StoredRule:
        await self._record(message, by)
        return await self.get(id_)

    async def _record(self, message: str, by: str) -> None:
        await self._activity.record(Entry(kind="alert_rule_changed", message=message, principal=by))


def _check(rule: AlertRule) -> None:
    """Refuse a rule that could never fire, or that nobody could mean."""
    threshold = rule.threshold
    unknown = sorted(set(rule.error_types) - set(ERROR_KINDS))
    wrong: tuple[str, str] | None = None
    if not rule.name.strip() or len(rule.name) > 200:
        wrong = "name", "must have 1 to 200 characters"
    elif not rule.error_types:
        wrong = "error_types", f"must name at least one of: {', '.join(ERROR_KINDS)}"
    elif unknown:
        wrong = "error_types", f"names '{unknown[0]}'; there are: {', '.join(ERROR_KINDS)}"
    elif not 1 <= threshold.count <= MOST_ERRORS:
        wrong = "threshold.count", f"must be between 1 and {MOST_ERRORS}"
    elif threshold.unit not in get_args(Unit):
        wrong = "threshold.unit", f"must be one of: {', '.join(get_args(Unit))}"
    elif not 1 <= threshold.interval <= LONGEST / timedelta(**{threshold.unit: 1}):
        wrong = "threshold.interval", f"must be at least 1 and no longer than {LONGEST.days} days"
    elif rule.action not in get_args(Action):
        wrong = "action", f"must be one of: {', '.join(get_args(Action))}"
    elif not rule.notify and rule.action == "none":
        wrong = "notify", "is empty and the action is none: the rule would do nothing. Give an address or an action"
    if wrong:
        field, why = wrong
        raise Rejected(f"Alert rule '{rule.name}': {field} {why}.", code="alert_rule", field=field)


def _stored(row: Any) -> StoredRule:
    return StoredRule(
        id=row["id"],
        rule=AlertRule(
            name=row["name"],
            enabled=row["enabled"],
            error_types=tuple(row["error_types"]),
            table_maps=tuple(row["table_maps"]),
            threshold=Threshold(count=row["count"], interval=row["interval"], unit=row["unit"]),
            notify=tuple(notify.shown(address) for address in row["notify"]),
            action=row["action"],
        ),
        changed_at=row["changed_at"],
        changed_by=row["changed_by"],
    )
