"""GET of one record by key, a filtered page of 50, and a POST, against the thinnest server that could do them.

Ours has authentication, parsing and metadata in the path; the floors (benchmarks.floors) have nothing but the query.
One process each, 32 connections, taking turns.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import asyncpg
import uvloop

from benchmarks.load import Connection, request, run
from benchmarks.report import RUNS, report
from benchmarks.running import Running, running
from isthmus.config import Settings
from isthmus.environments.databases import database_address

CONNECTIONS = 32
SECONDS = 3.0
ROWS = 5000
SELECT = "accountnumber,name,creditlimit,telephone1,websiteurl,emailaddress1,statecode,statuscode,createdon,modifiedon"

FLOORS = ("thin", "with_fastapi", "with_litestar")

Requests = Callable[[int], Iterator[bytes]]


async def fill(settings: Settings) -> list[str]:
    """Accounts without company, written straight into the table: nothing here is about dual-write."""
    connection = await asyncpg.connect(database_address(settings, "dataverse"))
    await connection.execute(
        """insert into dataverse.account (accountid, accountnumber, name, creditlimit, telephone1, websiteurl,
                emailaddress1, statecode, statuscode, createdon, modifiedon)
           select gen_random_uuid(), 'R' || n, 'Account ' || n, n % 1000, '+1 555 ' || n, 'https://example.com/' || n,
                'a' || n || '@example.com', 0, 1, now(), now()
           from generate_series(1, $1) n""",
        ROWS,
    )
    await connection.execute("analyze dataverse.account")
    ids = [str(r["accountid"]) for r in await connection.fetch("select accountid from dataverse.account")]
    await connection.close()
    return ids


def of_isthmus(target: Running, ids: list[str]) -> dict[str, Requests]:
    """The three requests as a client of the Web API sends them; literals differ from request to request."""
    numbers = itertools.count()

    def one(_: int) -> Iterator[bytes]:
        while True:
            yield request("GET", f"/api/data/v9.2/accounts({random.choice(ids)})?$select={SELECT}", target.headers)

    def page(_: int) -> Iterator[bytes]:
        while True:
            path = f"/api/data/v9.2/accounts?$select={SELECT}&$filter=creditlimit%20gt%20{next(numbers) % 900}&$top=50"
            yield request("GET", path, target.headers)

    def post(_: int) -> Iterator[bytes]:
        headers = {**target.headers, "Prefer": "return=representation"}
        while True:
            body = json.dumps({"subject": f"Call {next(numbers)}", "description": "Benchmark"}).encode()
            yield request("POST", "/api/data/v9.2/tasks", headers, body)

    return {"GET by key": one, "page of 50": page, "POST": post}


def of_floor(host: str, port: int, ids: list[str]) -> dict[str, Requests]:
    """The same questions as the floors understand them."""
    headers = {"Host": f"{host}:{port}", "Content-Type": "application/json"}
    numbers = itertools.count()

    def one(_: int) -> Iterator[bytes]:
        while True:
            yield request("GET", f"/one/{random.choice(ids)}", headers)

    def page(_: int) -> Iterator[bytes]:
        while True:
            yield request("GET", f"/page?minimum={next(numbers) % 900}", headers)

    def post(_: int) -> Iterator[bytes]:
        while True:
            body = json.dumps({"subject": f"Call {next(numbers)}", "description": "Benchmark"}).encode()
            yield request("POST", "/new", headers, body)

    return {"GET by key": one, "page of 50": page, "POST": post}


def start_floor(name: str, dsn: str) -> tuple[subprocess.Popen[bytes], int]:
    """A floor in a process of its own, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return subprocess.Popen([sys.executable, "-m", "benchmarks.floors", name, str(port), dsn]), port


async def until_it_answers(name: str, port: int) -> None:
    for _ in range(100):
        try:
            (await Connection.open("127.0.0.1", port)).close()
            return
        except OSError:
            await asyncio.sleep(0.1)
    raise SystemExit(f"the floor {name} does not answer")


async def measure(target: Running) -> None:
    settings = Settings(data_dir=target.directory)
    ids = await fill(settings)
    sides: dict[str, tuple[str, int, dict[str, Requests]]] = {
        "isthmus": (target.host, target.http_port, of_isthmus(target, ids))
    }
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name in FLOORS:
            process, port = start_floor(name, database_address(settings, "dataverse"))
            processes.append(process)
            await until_it_answers(name, port)
            sides[name] = ("127.0.0.1", port, of_floor("127.0.0.1", port, ids))
        for figure in ("GET by key", "page of 50", "POST"):
            rates: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(RUNS):
                for name, (host, port, requests) in sides.items():
                    outcome = await run(host, port, requests[figure], connections=CONNECTIONS, seconds=SECONDS)
                    if outcome.failures:
                        raise SystemExit(f"{name}, {figure}: {outcome.failures} failed: {outcome.last_failure!r}")
                    rates[name].append(outcome.rate)
            for name in FLOORS:
                report(
                    "read", f"{figure}, {CONNECTIONS} connections, against {name}", rates["isthmus"], "1/s", rates[name]
                )
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def main() -> None:
    with running(workers=1) as target:
        uvloop.run(measure(target))


if __name__ == "__main__":
    main()
