"""Health check: what keeps changes from flowing, in general and for one record."""

from __future__ import annotations

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.findings import Finding
from isthmus.dual_write.health_check import HealthCheck
from isthmus.dual_write.management_api.endpoint import endpoint
from isthmus.dual_write.why import Explanation, Why


class HealthQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Findings about one table map, or about all."""

    table_map: str | None = None


class WhyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A record of one half: its id (RecId or GUID), or its key as messages show it, the parts separated by `, `."""

    half: Half
    record: str


class HealthCalls:
    """What keeps changes from flowing, with what to do about it."""

    def __init__(self, health: HealthCheck, why: Why) -> None:
        self._health = health
        self._why = why

    @endpoint("GET", "/health/configuration")
    async def check_configuration(self) -> list[Finding]:
        """Check the configuration as a whole: both databases, the link, companies, teams."""
        return await self._health.configuration()

    @endpoint("GET", "/health/table-maps")
    async def check_table_maps(self, query: HealthQuery) -> list[Finding]:
        """Check table maps: definitions, states, queues, refusals, and fields whose changes are not seen."""
        return await self._health.table_maps(None if query.table_map is None else [query.table_map])

    @endpoint("GET", "/table-maps/{name}/why")
    async def explain_record(self, name: str, query: WhyQuery) -> Explanation:
        """Explain why a change of one record does or doesn't flow: every condition on its way."""
        return await self._why.explain(name, query.half, query.record)
