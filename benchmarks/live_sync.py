"""One dual-written PATCH of a customer over HTTP, against the bare protocol and against one plain commit.

The bare protocol is the same save with nothing around it: the very statements that a PATCH sends, recorded from one and
replayed on the driver alone, with the same two-phase commit. Both run on the same databases, taking turns: with a few
customers in them, and with 100,000.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import uvloop

from benchmarks import initial_sync, loading
from benchmarks.load import Connection, request, run
from benchmarks.report import RUNS, percentile, report
from benchmarks.running import Running, running
from isthmus.apps.principal import Principal
from isthmus.config import Settings
from isthmus.environments.databases import database_address
from isthmus.environments.environment import Environment
from isthmus.ids import new_gid
from isthmus.store.transaction import BEGIN, Transaction

CUSTOMERS = 64
SECONDS = 4.0
WARM_UP = 12
"""Saves on each connection of the floor before it is timed."""

MARK = 7_654_321
"""Credit limit of the recorded save; the replay puts a fresh number in its place."""


class Sent(msgspec.Struct):
    """One statement of a recorded save: the half it went to, its text and its arguments."""

    half: str
    sql: str
    arguments: list[Any]


async def prepare_data(target: Running) -> list[str]:
    """Customers B000.. of company usmf, made through the front door; the ids of their accounts."""
    connection = await Connection.open(target.host, target.http_port)

    async def post(entity_set: str, record: dict[str, Any]) -> None:
        status, body = await connection.send(
            request("POST", f"/data/{entity_set}", target.headers, json.dumps(record).encode())
        )
        if status not in (200, 201, 409):
            raise SystemExit(f"POST {entity_set}: {status} {body[:400]!r}")

    await post("Currencies", {"CurrencyCode": "USD", "Name": "US dollar", "Symbol": "$"})
    await post("LegalEntities", {"LegalEntityId": "USMF", "Name": "Contoso Entertainment USA"})
    await post("CustomerGroups", {"dataAreaId": "usmf", "CustomerGroupId": "10", "Description": "Wholesale"})
    ids = []
    for number in range(CUSTOMERS):
        await post(
            "CustomersV3",
            {
                "dataAreaId": "usmf",
                "CustomerAccount": f"B{number:03}",
                "PartyType": "Organization",
                "OrganizationName": f"Benchmark {number}",
                "CustomerGroupId": "10",
                "SalesCurrencyCode": "USD",
                "CreditLimit": 1000,
            },
        )
        path = f"/api/data/v9.2/accounts?$select=accountid&$filter=accountnumber%20eq%20'B{number:03}'"
        _, body = await connection.send(request("GET", path, target.headers))
        ids.append(json.loads(body)["value"][0]["accountid"])
    connection.close()
    return ids


async def record(target: Running, account: str) -> tuple[list[Sent], Principal]:
    """The statements of one PATCH of this account, in the order they were sent."""
    environment = await Environment.open(Settings(data_dir=target.directory, pool_size=2))
    sent: list[Sent] = []
    plain = Transaction._run

    async def note(self: Transaction, method: Any, sql: str, arguments: tuple[Any, ...]) -> Any:
        half = "dataverse" if self._pool in (pools.origin, pools.partner) else "finops"
        sent.append(Sent(half, sql, list(arguments)))
        return await plain(self, method, sql, arguments)

    pools = environment.dataverse_app.pool
    try:
        caller = await environment.dataverse_app.pool.origin.fetchval(
            "select azureactivedirectoryobjectid::text from dataverse.systemuser "
            "where azureactivedirectoryobjectid is not null and applicationid is null limit 1"
        )
        principal = Principal("user", caller, "benchmark", frozenset({"dataverse", "finops"}), float("inf"))
        for value in (MARK + 1, MARK):
            sent.clear()
            Transaction._run = note  # type: ignore[method-assign]
            try:
                await patch_in_process(environment, principal, account, value)
            finally:
                Transaction._run = plain  # type: ignore[method-assign]
    finally:
        await environment.close()
    return sent, principal


async def patch_in_process(environment: Environment, principal: Principal, account: str, value: int) -> None:
    """The request of the benchmark, handed to the Web API without a socket."""
    body = json.dumps({"creditlimit": value}).encode()
    scope = {
        "type": "http",
        "method": "PATCH",
        "scheme": "http",
        "path": f"/api/data/v9.2/accounts({account})",
        "raw_path": f"/api/data/v9.2/accounts({account})".encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "isthmus.principal": principal,
    }
    answered: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answered.append(message["status"])

    await environment.dataverse(scope, receive, send)
    if answered != [204]:
        raise SystemExit(f"the recorded PATCH was answered with {answered}")


class Bare:
    """The recorded save on two connections of the driver."""

    def __init__(self, dataverse: asyncpg.Connection, finops: asyncpg.Connection, save: list[Sent], link: str) -> None:
        self._connections = {"dataverse": dataverse, "finops": finops}
        self._save = save
        self._link = link

    async def once(self, value: int) -> None:
        dataverse, finops = self._connections["dataverse"], self._connections["finops"]
        await dataverse.execute(BEGIN)
        await finops.execute(BEGIN)
        gid = new_gid(self._link, "dataverse")
        for statement in self._save:
            if "isthmus.decision" in statement.sql:
                continue
            await self._connections[statement.half].fetch(statement.sql, *fresh(statement.arguments, value))
        await asyncio.gather(
            finops.execute(f"prepare transaction '{gid}'"),
            dataverse.execute("insert into isthmus.decision (gid, outcome) values ($1, 'committed')", gid),
        )
        await dataverse.execute("commit")
        await finops.execute(f"commit prepared '{gid}'")


def fresh(arguments: list[Any], value: int) -> list[Any]:
    """The arguments with another number in place of the mark."""
    return [a.replace(str(MARK), str(value)) if isinstance(a, str) else a for a in arguments]


def bare_process(directory: str, saves: list[list[Sent]], seconds: float) -> tuple[float, list[float]]:
    """One process of the floor: a task for each record; saves a second and latencies in milliseconds."""
    return uvloop.run(_bare(Settings(data_dir=Path(directory)), saves, seconds))


async def _bare(settings: Settings, saves: list[list[Sent]], seconds: float) -> tuple[float, list[float]]:
    pairs = []
    for save in saves:
        connections = [
            await asyncpg.connect(database_address(settings, half), statement_cache_size=1000)
            for half in ("dataverse", "finops")
        ]
        for connection in connections:
            await connection.execute("set jit = off")
        pairs.append((connections, Bare(*connections, save, "bench000")))
    numbers = itertools.count(10_000)
    # PostgreSQL plans a statement anew for its first five runs on a connection; the server's are long past that.
    for _ in range(WARM_UP):
        await asyncio.gather(*(bare.once(next(numbers)) for _, bare in pairs))
    latencies: list[float] = []
    began = time.perf_counter()

    async def drive(bare: Bare) -> None:
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            await bare.once(next(numbers))
            latencies.append((time.perf_counter() - sent) * 1000)

    await asyncio.gather(*(drive(bare) for _, bare in pairs))
    rate = len(latencies) / (time.perf_counter() - began)
    for connections, _ in pairs:
        for connection in connections:
            await connection.close()
    return rate, latencies


async def plain_commits(settings: Settings, connections: int, seconds: float) -> tuple[float, list[float]]:
    """The other floor: one UPDATE of one row and its commit, on one database."""
    opened = [await asyncpg.connect(database_address(settings, "dataverse")) for _ in range(connections)]
    ids = [
        r["accountid"] for r in await opened[0].fetch("select accountid from dataverse.account limit $1", connections)
    ]
    latencies: list[float] = []
    began = time.perf_counter()

    async def drive(connection: asyncpg.Connection, id_: Any) -> None:
        value = 0
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            value += 1
            await connection.execute("update dataverse.account set creditlimit = $2 where accountid = $1", id_, value)
            latencies.append((time.perf_counter() - sent) * 1000)

    await asyncio.gather(*(drive(c, i) for c, i in zip(opened, ids, strict=True)))
    rate = len(latencies) / (time.perf_counter() - began)
    for connection in opened:
        await connection.close()
    return rate, latencies


def patches(target: Running, ids: list[str]) -> Any:
    """Endless PATCHes: connection n changes account n."""
    numbers = itertools.count(20_000)

    def requests(number: int) -> Iterator[bytes]:
        path = f"/api/data/v9.2/accounts({ids[number % len(ids)]})"
        while True:
            body = json.dumps({"creditlimit": next(numbers)}).encode()
            yield request("PATCH", path, target.headers, body)

    return requests


async def over_http(target: Running, ids: list[str], connections: int) -> tuple[float, list[float]]:
    outcome = await run(target.host, target.http_port, patches(target, ids), connections=connections, seconds=SECONDS)
    if outcome.failures:
        raise SystemExit(f"{outcome.failures} PATCHes failed: {outcome.last_failure!r}")
    return outcome.rate, outcome.latencies


async def load_customers(target: Running, customers: int) -> list[str]:
    """That many customers on both halves, and more that are on F&O alone; the ids of some accounts."""
    settings = Settings(data_dir=target.directory, pool_size=4)
    await initial_sync.prepare(settings, customers)
    await loading.run(settings, initial_sync.COMPANY)
    for half in ("finops", "dataverse"):
        connection = await asyncpg.connect(database_address(settings, half))
        await connection.execute("vacuum analyze")
        await connection.close()
    dataverse = await asyncpg.connect(database_address(settings, "dataverse"))
    found = await dataverse.fetch("select accountid from dataverse.account limit $1", CUSTOMERS)
    await dataverse.close()
    return [str(row["accountid"]) for row in found]


def measure(workers: int, connections: int, customers: int = 0) -> None:
    """Turns of HTTP, bare protocol and plain commit at one number of connections; `customers` stand there as well."""
    with running(workers) as target, ProcessPoolExecutor(workers) as processes:
        ids = uvloop.run(load_customers(target, customers) if customers else prepare_data(target))
        saves = [uvloop.run(record(target, id_))[0] for id_ in ids[:connections]]
        shares = [saves[n::workers] for n in range(workers) if saves[n::workers]]
        http: list[tuple[float, list[float]]] = []
        bare: list[tuple[float, list[float]]] = []
        plain: list[tuple[float, list[float]]] = []
        for _ in range(RUNS):
            http.append(uvloop.run(over_http(target, ids, connections)))
            parts = [processes.submit(bare_process, str(target.directory), share, SECONDS) for share in shares]
            results = [part.result() for part in parts]
            bare.append((sum(r for r, _ in results), [x for _, latencies in results for x in latencies]))
            plain.append(uvloop.run(plain_commits(Settings(data_dir=target.directory), connections, SECONDS / 2)))
        name = f"PATCH, {connections} connection{'s' if connections > 1 else ''}, {workers} server process" + (
            "es" if workers > 1 else ""
        )
        if customers:
            name += f", {customers} customers"
        for share, label in ((0.5, "p50"), (0.99, "p99")):
            ours = [percentile(latencies, share) for _, latencies in http]
            report("live_sync", f"{name}: {label}", ours, "ms", [percentile(x, share) for _, x in bare])
        report("live_sync", f"{name}: rate", [rate for rate, _ in http], "1/s", [rate for rate, _ in bare])
        report(
            "live_sync", f"{name}: rate against one plain commit", [r for r, _ in http], "1/s", [r for r, _ in plain]
        )
        report("live_sync", f"{name}: statements of a save", [len(saves[0])], "statements")


def main() -> None:
    measure(workers=1, connections=1)
    measure(workers=1, connections=1, customers=100_000)
    measure(workers=2, connections=32)


if __name__ == "__main__":
    main()
