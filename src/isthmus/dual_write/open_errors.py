"""Errors that something on a half still stands for: the queued change or the records that were refused.

The activity log tells that they were refused, the halves whether they still are: they may have been delivered or
dismissed, carried after all, or given way to a newer save.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from isthmus.apps.principal import Half
from isthmus.errors import Unavailable
from isthmus.store.connections import Connections
from isthmus.store.pool import fetch

OpenErrors = Callable[[], Awaitable[list[str] | None]]
"""What was refused and still stands, named as in `GONE`; None while a half can't be asked."""

GONE = """exists (
    select from (
        select case a.kind when 'catch_up_error' then concat_ws(' ', a.origin, a.details ->> 'queued_change')
            when 'initial_sync_error' then concat_ws(' ', a.details ->> 'request', a.table_map) end as name
    ) refused where refused.name is not null and refused.name <> all(${}::text[])
)"""
"""SQL of whether what an entry `a` of the activity log tells of is not among those names; never of what isn't kept."""

_STANDING = """
select $1 || ' ' || id as name from isthmus.queued_change where status in ('waiting', 'failed') and attempts > 0
union all select distinct request || ' ' || table_map from isthmus.refused_record
"""


async def nobody_knows() -> None:
    """For a log without halves."""


def open_errors(pools: Mapping[Half, Connections]) -> OpenErrors:
    """Asks both halves."""

    async def ask() -> list[str] | None:
        try:
            return [row["name"] for half, pool in pools.items() for row in await fetch(pool, _STANDING, half)]
        except Unavailable:
            return None

    return ask
