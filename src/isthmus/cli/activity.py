"""`isthmus activity`: what was done to table maps, and what went wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from isthmus import config
from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir

if TYPE_CHECKING:
    from isthmus.dual_write.activity import Entry


def activity(
    *,
    table_map: Annotated[str | None, Parameter(name="--map", help="Name of one table map.")] = None,
    limit: Annotated[int, Parameter(help="Entries to show, newest first.")] = 20,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object a line, for scripts.")] = False,
    data_dir: DataDir = None,
) -> int:
    """Show the newest entries of the activity log."""
    entries = asyncio.run(_newest(config.load({"data_dir": data_dir}), table_map, limit))
    if json:
        import msgspec

        for entry in entries:
            print(msgspec.json.encode(entry).decode())
        return exit_codes.OK
    if not entries:
        print("The activity log is empty.")
    for entry in entries:
        print(f"{entry.at:%Y-%m-%d %H:%M:%S}  {entry.kind}  {entry.table_map or '-'}  {entry.record_key or ''}")
        if entry.code:
            print(f"  began in {entry.origin}, refused by {entry.refused_by or entry.origin} ({entry.code})")
        print(f"  {entry.message}")
    return exit_codes.OK


async def _newest(settings: config.Settings, table_map: str | None, limit: int) -> list[Entry]:
    import asyncpg

    from isthmus.dual_write.activity import ActivityFilter, ActivityLog
    from isthmus.environments.databases import database_address
    from isthmus.errors import Unavailable

    try:
        async with asyncpg.create_pool(database_address(settings, "control"), min_size=1, max_size=1) as pool:
            return await ActivityLog(pool).entries(ActivityFilter(table_map=table_map), limit=limit)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Unavailable(f"The control database does not answer: {error}. Start it with isthmus up.") from error
