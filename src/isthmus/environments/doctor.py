"""`isthmus doctor`: what is in doubt, how old it is, what will become of it; and whether the ground is sound."""

from __future__ import annotations

import asyncpg
from rich.console import Console
from rich.table import Table as Grid

from isthmus import solutions
from isthmus.config import Settings
from isthmus.environments.databases import HALVES, database_address
from isthmus.environments.link import read_link
from isthmus.store.recovery import InDoubt, Recovery
from isthmus.store.transaction import DRIVER_ERRORS

WILL = {
    "committed": "will be committed: the decision stands on the origin",
    "aborted": "will be rolled back: recovery has fenced it",
    None: "no decision yet: will be fenced and rolled back, unless its coordinator commits first",
}

OLD_SECONDS = 30.0
"""Age at which a prepared transaction is a fault: recovery has not reached its origin for that long."""


async def main_report(settings: Settings) -> int:
    """Print the report; 0 when all is well, 1 when something needs a person."""
    console = Console()
    pools: dict[str, asyncpg.Pool] = {}
    try:
        for half in HALVES:
            pools[half] = await asyncpg.create_pool(database_address(settings, half), min_size=1, max_size=1)
        control = await asyncpg.connect(database_address(settings, "control"))
        try:
            link = await read_link(control)
        finally:
            await control.close()
        in_doubt = await Recovery(pools, link).in_doubt()
        prepared = {half: await pool.fetchval("show max_prepared_transactions") for half, pool in pools.items()}
    except DRIVER_ERRORS as error:
        console.print(f"[red]A database does not answer:[/red] {error}. Start the environment with isthmus up.")
        return 1
    finally:
        for pool in pools.values():
            await pool.close()
    catalog = solutions.catalog()
    console.print(
        f"Link {link}; {len(catalog.table_maps)} table maps, mode atomic "
        f"(max_prepared_transactions: {', '.join(f'{half} {value}' for half, value in prepared.items())}).",
        soft_wrap=True,
    )
    _print_in_doubt(console, in_doubt)
    return 1 if any(item.age > OLD_SECONDS for item in in_doubt) else 0


def _print_in_doubt(console: Console, in_doubt: list[InDoubt]) -> None:
    if not in_doubt:
        console.print("No prepared transactions: no save is in doubt.")
        return
    grid = Grid("prepared on", "age", "origin", "what will become of it", "gid")
    for item in in_doubt:
        grid.add_row(item.half, f"{item.age:.1f} s", item.origin, WILL[item.decision], item.gid)
    console.print(grid)
