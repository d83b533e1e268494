"""Catch-up of 100,000 queued changes of customers, against raw COPY of the same rows; and a PATCH of an account over
HTTP while its table map is paused, against the same PATCH while it is not running.

A tenth of the changes are real saves; the others are the same rows again, each time with another credit limit, as later
saves of the same customers. Floor of the first is COPY of these very rows into a table with the same indexes.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg
import uvloop

from benchmarks.live_sync import over_http, prepare_data
from benchmarks.report import RUNS, percentile, report
from benchmarks.running import Running, running
from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.apps.principal import DUAL_WRITE
from isthmus.config import Settings
from isthmus.dual_write.fence import State
from isthmus.environments.databases import database_address
from isthmus.environments.environment import Environment

TABLE_MAP = "accounts - Customers V3"
CHANGES = 100_000
CUSTOMERS = 1_000
ROUNDS = 10
"""Real saves of each customer, of as many records a save as a message holds."""

REPEAT = """
insert into isthmus.queued_change
    (table_map, operation, record_id, record_key, company, record, new_values, principal, correlation_id,
    transaction_id)
select table_map, operation, record_id, record_key, company,
    jsonb_set(record::jsonb, '{values,creditlimit}', to_jsonb(50000 + $1::integer))::json,
    new_values, principal, correlation_id, (1000000 + $1 * 100 + row_number() over (order by id) / 100)::text::xid8
from isthmus.queued_change where id <= $2 order by id
"""


async def make_customers(environment: Environment) -> list[int]:
    """Customers by the front door of the F&O half, a hundred a save; their RecIds."""
    ids: list[int] = []
    for start in range(0, CUSTOMERS, 100):
        rows = [
            Row(
                values={
                    "dataareaid": "usmf",
                    "customeraccount": f"Q{number:05}",
                    "partytype": "Organization",
                    "organizationname": f"Queued {number}",
                    "customergroupid": "10",
                    "salescurrencycode": "USD",
                }
            )
            for number in range(start, start + 100)
        ]
        await save(environment, Operation.CREATE, rows)
        ids += [row.id for row in rows if isinstance(row.id, int)]
    return ids


async def save(environment: Environment, operation: Operation, rows: list[Row]) -> None:
    """One message on the F&O half."""
    app = environment.finops_app
    async with app.context(DUAL_WRITE, correlation_id="benchmark") as context:
        await app.execute(context, Message(operation=operation, table="CustCustomerV3Entity", rows=rows))
        await context.commit()


async def fill_queue(environment: Environment, ids: list[int]) -> None:
    """Pause the table map and change every customer again and again."""
    await environment.dual_write.states.change([TABLE_MAP], "paused", by="benchmark", reason="manual")
    for number in range(ROUNDS):
        for start in range(0, len(ids), 500):
            rows = [Row(id=id_, values={"creditlimit": 1000 + number}) for id_ in ids[start : start + 500]]
            await save(environment, Operation.UPDATE, rows)
    pool = environment.finops_app.pool.origin
    real = await pool.fetchval("select max(id) from isthmus.queued_change")
    for number in range(CHANGES // (ROUNDS * len(ids)) - 1):
        await pool.execute(REPEAT, number, real)
    await pool.execute("analyze isthmus.queued_change")


async def copy_floor(settings: Settings) -> float:
    """Rows a second of COPY of the queue's rows into a table with its indexes and constraints."""
    connection = await asyncpg.connect(database_address(settings, "finops"))
    try:
        rows = await connection.fetch("select * from isthmus.queued_change order by id")
        columns = list(rows[0].keys())
        await connection.execute("create table copied (like isthmus.queued_change including all)")
        began = time.perf_counter()
        await connection.copy_records_to_table("copied", records=[tuple(row) for row in rows], columns=columns)
        elapsed = time.perf_counter() - began
        await connection.execute("drop table copied")
        return len(rows) / elapsed
    finally:
        await connection.close()


async def catch_up(environment: Environment) -> tuple[int, float]:
    """Deliver the queue, in whichever process takes the request; how many changes, and how many a second."""
    dual_write = environment.dual_write
    id_ = await dual_write.requests.submit("resume", [TABLE_MAP], {}, "benchmark")
    while (found := await dual_write.requests.get(id_)).is_open:  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    if found.state != "completed" or found.started_at is None or found.ended_at is None:
        raise SystemExit(f"the catch-up ended as {found.state}: {found.message}")
    done = sum(part.done for part in found.progress)
    refused = sum(part.refused for part in found.progress)
    if refused:
        raise SystemExit(f"{refused} changes were refused")
    return done, done / (found.ended_at - found.started_at).total_seconds()


async def patches_by_state(environment: Environment, target: Running, ids: list[str]) -> dict[State, list[list[float]]]:
    """Latencies in milliseconds of a PATCH, the states taking turns."""
    states = environment.dual_write.states
    found: dict[State, list[list[float]]] = {"not_running": [], "paused": []}
    for _ in range(RUNS):
        await states.change([TABLE_MAP], "not_running", by="benchmark", queued="discard")
        found["not_running"].append((await over_http(target, ids, 1))[1])
        await states.change([TABLE_MAP], "running", by="benchmark")
        await states.change([TABLE_MAP], "paused", by="benchmark", reason="manual")
        found["paused"].append((await over_http(target, ids, 1))[1])
    return found


async def measure(target: Running) -> None:
    ids = await prepare_data(target)
    settings = Settings(data_dir=target.directory, pool_size=4)
    environment = await Environment.open(settings)
    try:
        found = await patches_by_state(environment, target, ids)
        for share, label in ((0.5, "p50"), (0.99, "p99")):
            paused, alone = ([percentile(run, share) for run in found[state]] for state in ("paused", "not_running"))
            report("catch_up", f"PATCH of a paused table map: {label}", paused, "ms", alone)
        await environment.dual_write.states.change([TABLE_MAP], "running", by="benchmark", queued="discard")
        await fill_queue(environment, await make_customers(environment))
        floor = await copy_floor(settings)
        done, rate = await catch_up(environment)
        report("catch_up", f"{done} queued changes of customers delivered", [rate], "1/s", [floor])
    finally:
        await environment.close()


def main() -> None:
    with running(workers=1) as target:
        uvloop.run(measure(target))


if __name__ == "__main__":
    main()
