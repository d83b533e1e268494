"""The activity log: who did what to a table map, and every save that live sync refused, with its reason."""

from __future__ import annotations

from typing import Any

import asyncpg

from isthmus.apps.context import Context
from isthmus.errors import IsthmusError
from isthmus.observe import log
from isthmus.store.transaction import DRIVER_ERRORS

_RECORD = """
insert into isthmus.activity
    (kind, table_map, origin, refused_by, record_key, operation, code, message, principal, correlation_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_NEWEST = """
select id, at, kind, table_map, origin, refused_by, record_key, operation, code, message, principal, correlation_id
from isthmus.activity where $1::text is null or table_map = $1 order by id desc limit $2
"""


class ActivityLog:
    """Kept in the control database, apart from both halves: a refused save leaves no other trace."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def refused(self, context: Context, error: IsthmusError) -> None:
        """Record a save that live sync refused. Losing the entry never hides the refusal from the caller."""
        details = error.details
        operation = context.changes[0].operation.value if context.changes else None
        try:
            await self._pool.execute(
                _RECORD,
                "live_sync_refused",
                details.get("table_map"),
                context.half,
                details.get("half"),
                details.get("key"),
                operation,
                error.code,
                error.message,
                context.principal.object_id,
                context.correlation_id,
            )
        except DRIVER_ERRORS as failure:
            log.error("activity_not_recorded", error=str(failure), refused=error.message)

    async def newest(self, table_map: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Entries, newest first, of one map or of all."""
        return [dict(record) for record in await self._pool.fetch(_NEWEST, table_map, limit)]
