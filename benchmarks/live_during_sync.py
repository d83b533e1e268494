"""Live saves at 50 a second while an initial sync of the same table map copies 200,000 customers, and the same alone.

The saves are PATCHes of customers over HTTP to F&O, of records that the sync is about to copy or has copied. They are
sent when they are due, however long those before take. Floor are the same saves with the table map running.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import uvloop

from benchmarks import initial_sync
from benchmarks.load import Connection, Outcome, request, run_at_rate
from benchmarks.loading import TABLE_MAP
from benchmarks.report import RUNS, percentile, report
from benchmarks.running import Running, running
from isthmus.config import Settings

CUSTOMERS = 200_000
RATE = 50.0
CONNECTIONS = 16
SECONDS_ALONE = 20.0
API = "/api/isthmus/v1"


def patches(target: Running) -> Iterator[bytes]:
    """PATCHes of customers all over the table, each of another one."""
    for number in itertools.count():
        account = f"C{1 + number * 7919 % CUSTOMERS:09}"
        path = f"/data/CustomersV3(dataAreaId='{initial_sync.COMPANY}',CustomerAccount='{account}')"
        yield request("PATCH", path, target.headers, json.dumps({"CreditLimit": 1000 + number}).encode())


async def call(target: Running, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """One call of the management API."""
    connection = await Connection.open(target.host, target.http_port)
    content = b"" if body is None else json.dumps(body).encode()
    status, answer = await connection.send(request(method, f"{API}{path}", target.headers, content))
    connection.close()
    if status >= 300:
        raise SystemExit(f"{method} {path}: {status} {answer!r}")
    return json.loads(answer)


async def ended(target: Running, found: dict[str, Any]) -> float:
    """The seconds that a request took, once it has ended."""
    began = time.perf_counter()
    while found["state"] in ("waiting", "running"):
        await asyncio.sleep(0.2)
        found = await call(target, "GET", f"/requests/{found['id']}")
    if found["state"] != "completed":
        raise SystemExit(f"the request ended {found['state']}: {found['message']}")
    return time.perf_counter() - began


async def saves(target: Running, until: Any) -> Outcome:
    outcome = await run_at_rate(
        target.host, target.http_port, patches(target), rate=RATE, connections=CONNECTIONS, until=until
    )
    if outcome.failures:
        raise SystemExit(f"{outcome.failures} saves failed: {outcome.last_failure!r}")
    return outcome


async def alone(target: Running) -> Outcome:
    end = time.perf_counter() + SECONDS_ALONE
    return await saves(target, lambda: time.perf_counter() > end)


async def during_sync(target: Running, settings: Settings) -> tuple[Outcome, float]:
    """The saves while all customers are copied into an empty table, and the rows a second of that."""
    await ended(target, await call(target, "POST", "/stop", {"table_maps": [TABLE_MAP]}))
    await initial_sync.empty(settings, "dataverse.account")
    body = {"table_maps": [TABLE_MAP], "needed": False, "master": "finops", "companies": [initial_sync.COMPANY]}
    sync = asyncio.create_task(ended(target, await call(target, "POST", "/run", body)))
    outcome = await saves(target, sync.done)
    return outcome, CUSTOMERS / await sync


async def measure(target: Running) -> None:
    settings = Settings(data_dir=target.directory, pool_size=4)
    await initial_sync.prepare(settings, CUSTOMERS)
    await during_sync(target, settings)
    floors, found, rates = [], [], []
    for _ in range(RUNS):
        floors.append((await alone(target)).latencies)
        outcome, rate = await during_sync(target, settings)
        found.append(outcome.latencies)
        rates.append(rate)
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        report(
            "live_during_sync",
            f"PATCH at {RATE:.0f}/s during initial sync of {CUSTOMERS} customers: {label}",
            [percentile(latencies, share) for latencies in found],
            "ms",
            [percentile(latencies, share) for latencies in floors],
        )
    report("live_during_sync", f"initial sync of {CUSTOMERS} customers meanwhile", rates, "rows/s")


def main() -> None:
    with running(workers=2) as target:
        uvloop.run(measure(target))


if __name__ == "__main__":
    main()
