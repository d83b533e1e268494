"""Alert rules and what fired."""

from __future__ import annotations

from uuid import UUID

import msgspec

from isthmus.dual_write.alerts import Alert, AlertRule, AlertRules, StoredRule
from isthmus.dual_write.management_api.endpoint import Caller, endpoint
from isthmus.dual_write.management_api.paging import Limit, Page, page_of


class AlertQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts of one rule, of one table map; `after` is what a page gave as `next`."""

    rule: UUID | None = None
    table_map: str | None = None
    after: int | None = None
    limit: Limit = 100


class AlertCalls:
    """Rules that watch the errors of table maps: whom they tell, and whether they pause or stop the table map."""

    def __init__(self, rules: AlertRules) -> None:
        self._rules = rules

    @endpoint("GET", "/alert-rules")
    async def list_alert_rules(self) -> list[StoredRule]:
        """List all rules by name. The secret parts of their addresses are hidden."""
        return await self._rules.list()

    @endpoint("POST", "/alert-rules", status=201)
    async def create_alert_rule(self, body: AlertRule, caller: Caller) -> StoredRule:
        """Add a rule; it holds at once."""
        return await self._rules.create(body, caller.principal.object_id)

    @endpoint("GET", "/alert-rules/{rule_id}")
    async def show_alert_rule(self, rule_id: UUID) -> StoredRule:
        """Show one rule."""
        return await self._rules.get(rule_id)

    @endpoint("PUT", "/alert-rules/{rule_id}")
    async def replace_alert_rule(self, rule_id: UUID, body: AlertRule, caller: Caller) -> StoredRule:
        """Replace a rule. An address given as it was shown, with its secrets hidden, stays as it is."""
        return await self._rules.replace(rule_id, body, caller.principal.object_id)

    @endpoint("DELETE", "/alert-rules/{rule_id}")
    async def delete_alert_rule(self, rule_id: UUID, caller: Caller) -> None:
        """Delete a rule; the alerts that it gave stay."""
        await self._rules.delete(rule_id, caller.principal.object_id)

    @endpoint("GET", "/alerts")
    async def list_alerts(self, query: AlertQuery) -> Page[Alert]:
        """List what fired, newest first, with what came of it."""
        found = await self._rules.alerts(
            rule=query.rule, table_map=query.table_map, before=query.after, limit=query.limit + 1
        )
        return page_of(found, query.limit, lambda alert: str(alert.id))
