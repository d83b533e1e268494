"""Initial sync of customers to accounts, against raw COPY of the same rows and against two tools that load databases.

    python -m benchmarks.initial_sync [rows ...] [--runs N] [--peers FOLDER]

The customers lie in the tables of F&O, with parties, groups, terms and currencies; one in twenty is a person, whom the
filter leaves out. They go through `CustomersV3 -> accounts` with its lookups, value maps, defaults and filter. The
floor is one COPY FROM, out of a file, of the accounts that came of it, into a table with the same columns, indexes
and foreign keys. The peers fill such tables too, from a table that holds the columns as they were written: they look
nothing up. FOLDER is the `bin` of a virtual environment with the dependency group `benchmarks`; without it there are
no peers.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
import uvloop

from benchmarks.peers import with_ingestr
from benchmarks.report import report
from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.apps.principal import DUAL_WRITE
from isthmus.config import CONTROL_DATABASE, DATAVERSE_DATABASE, FINOPS_DATABASE, Settings
from isthmus.environments.databases import database_address
from isthmus.environments.environment import Environment
from isthmus.store.ddl import STORAGE
from isthmus.store.embedded import EmbeddedPostgres

COMPANY = "usmf"
GROUPS = 20
TERMS = 8
FLOOR = "floor"
PEERS = ("peer_dlt", "peer_ingestr")
PROGRAM = Path(__file__).with_name("peers.py")


@contextmanager
def environment() -> Iterator[Settings]:
    """A PostgreSQL server with the databases of an environment, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="isthb", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        server = EmbeddedPostgres(directory / "postgresql")
        settings = Settings(data_dir=directory)
        asyncio.run(server.start())
        try:
            asyncio.run(create_databases(server, settings))
            yield settings
        finally:
            asyncio.run(server.remove())


async def create_databases(server: EmbeddedPostgres, settings: Settings) -> None:
    for name in (CONTROL_DATABASE, DATAVERSE_DATABASE, FINOPS_DATABASE):
        await server.ensure_database(name)
    await Environment.migrate(settings, [DUAL_WRITE])


async def prepare(settings: Settings, rows: int) -> None:
    """What customers refer to, by live sync; then parties and customers straight into the tables."""
    halves = await Environment.open(settings)
    app = halves.finops_app
    references = {
        "CurrencyEntity": [{"currencycode": code, "name": code, "symbol": code} for code in ("USD", "EUR", "GBP")],
        "OMLegalEntity": [{"legalentityid": COMPANY.upper(), "name": "Contoso Entertainment USA"}],
        "CustCustomerGroupEntity": [{"customergroupid": f"G{n:02}", "dataareaid": COMPANY} for n in range(GROUPS)],
        "PaymentTermEntity": [{"name": f"Net{n}0", "dataareaid": COMPANY} for n in range(TERMS)],
        "TaxGroupEntity": [{"taxgroupcode": f"T{n}", "dataareaid": COMPANY} for n in range(TERMS)],
    }
    for entity, records in references.items():
        async with app.context(DUAL_WRITE, correlation_id="benchmark") as context:
            created = [Row(values=dict(record)) for record in records]
            await app.execute(context, Message(operation=Operation.CREATE, table=entity, rows=created))
            await context.commit()
    await halves.close()
    finops = await asyncpg.connect(database_address(settings, "finops"))
    dataverse = await asyncpg.connect(database_address(settings, "dataverse"))
    numbers = {"organizations": rows, "parties": rows + rows // 19, "groups": GROUPS, "terms": TERMS}
    await finops.execute(_PARTIES.format(**numbers))
    await finops.execute(_CUSTOMERS.format(company=COMPANY, **numbers))
    await dataverse.execute(_DATAVERSE_PARTIES.format(**numbers))
    for database, table in (
        (finops, "finops.dirpartytable"),
        (finops, "finops.custtable"),
        (dataverse, "dataverse.msdyn_party"),
    ):
        await database.execute(f"vacuum analyze {table}")
        await database.execute("checkpoint")
    await finops.close()
    await dataverse.close()


_PARTIES = """
insert into finops.dirpartytable (recid, partynumber, name, partytype)
select 1000000000 + n, 'P' || lpad(n::text, 9, '0'), 'Contoso customer ' || n,
       case when n <= {organizations} then 'Organization' else 'Person' end
from generate_series(1, {parties}) n
"""
_CUSTOMERS = """
insert into finops.custtable (recid, dataareaid, accountnum, party, custgroup, currency, creditmax,
    mandatorycreditlimit, blocked, onetimecustomer, paymtermid, taxgroup, memo, creditrating, identificationnumber,
    vatnum, cashdiscbasedays)
select 2000000000 + n, '{company}', 'C' || lpad(n::text, 9, '0'), 1000000000 + n,
       'G' || lpad((n % {groups})::text, 2, '0'), (array['USD', 'EUR', 'GBP'])[n % 3 + 1], n % 100000, n % 2, n % 6,
       (n / 7) % 2, 'Net' || n % {terms} || '0', 'T' || n % {terms},
       'Delivers on weekdays only, calls before ' || n % 24 || ':00', 'Good', 'ID' || n, 'VAT' || n, n % 30
from generate_series(1, {parties}) n
"""
_DATAVERSE_PARTIES = """
insert into dataverse.msdyn_party (msdyn_partyid, msdyn_partynumber, msdyn_organizationname, msdyn_partytype, statecode,
    statuscode, createdon, modifiedon)
select gen_random_uuid(), 'P' || lpad(n::text, 9, '0'), 'Contoso customer ' || n, 192350002, 0, 1, now(), now()
from generate_series(1, {organizations}) n
"""


class Peak:
    """The most memory (resident set, bytes) that a process and its children held together, sampled every 50 ms."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._over.wait(0.05):
            try:
                family = [self._process, *self._process.children(recursive=True)]
                self.bytes = max(self.bytes, sum(process.memory_info().rss for process in family))
            except psutil.Error:
                return

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self.bytes


def measured(arguments: list[str]) -> tuple[float, int]:
    """Run a program to its end; the seconds that its last line of output says it took, and its peak memory."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    peak = Peak(process.pid)
    output, _ = process.communicate()
    memory = peak.stop()
    if process.returncode:
        raise SystemExit(f"{arguments} failed:\n{output}")
    return float(output.strip().splitlines()[-1]), memory


async def make_floor(settings: Settings, file: Path) -> list[str]:
    """Empty tables like `account` for the floor and the peers, and the accounts that stand as a file and as a table.

    Returns the columns of that table that are GUIDs; they stand there as text, which is what the peers can read.
    """
    dataverse = await asyncpg.connect(database_address(settings, "dataverse"))
    keys = await dataverse.fetch(
        "select pg_get_constraintdef(oid) from pg_constraint "
        "where conrelid = 'dataverse.account'::regclass and contype = 'f'"
    )
    for schema in (FLOOR, *PEERS):
        await dataverse.execute(f"drop schema if exists {schema} cascade; create schema {schema}")
        await dataverse.execute(
            f"create table {schema}.account (like dataverse.account including all) with ({STORAGE})"
        )
        for (definition,) in keys:
            own = definition.replace("REFERENCES dataverse.account(", f"REFERENCES {schema}.account(")
            await dataverse.execute(f"alter table {schema}.account add {own}")
    await dataverse.copy_from_table("account", schema_name="dataverse", output=file, format="binary")
    columns = await dataverse.fetch(
        "select attname, atttypid = 'uuid'::regtype as is_guid from pg_attribute "
        "where attrelid = 'dataverse.account'::regclass and attnum > 0 and not attisdropped order by attnum"
    )
    account = await dataverse.fetchrow("select * from dataverse.account limit 1")
    written = {c["attname"]: c["is_guid"] for c in columns if account[c["attname"]] is not None}
    selected = ", ".join(f'"{n}"::text as "{n}"' if is_guid else f'"{n}"' for n, is_guid in written.items())
    await dataverse.execute(f"create table {FLOOR}.rows as select {selected} from dataverse.account")
    await dataverse.close()
    return [name for name, is_guid in written.items() if is_guid]


async def empty(settings: Settings, table: str) -> None:
    """Empty a table and write everything to disk, so that no run pays for the one before."""
    dataverse = await asyncpg.connect(database_address(settings, "dataverse"))
    await dataverse.execute(f"truncate {table} cascade")
    await dataverse.execute("checkpoint")
    await dataverse.close()


async def raw_copy(settings: Settings, file: Path) -> float:
    """Seconds of one COPY FROM."""
    dataverse = await asyncpg.connect(database_address(settings, "dataverse"))
    began = time.perf_counter()
    await dataverse.copy_to_table("account", schema_name=FLOOR, source=file, format="binary")
    seconds = time.perf_counter() - began
    await dataverse.close()
    return seconds


def measure(rows: int, runs: int, peers: Path | None) -> float:
    """Rows a second of our run; prints them beside the floor's and the peers'."""
    with environment() as settings, tempfile.TemporaryDirectory() as folder:
        uvloop.run(prepare(settings, rows))
        file, guids = Path(folder) / "accounts", []
        # The peers' drivers want the name of a host, and then take the socket's directory for it.
        address = database_address(settings, "dataverse").replace("@/", "@localhost/")
        rates: dict[str, list[float]] = {"ours": [], "raw COPY": [], "dlt": [], "ingestr": []}
        memory: list[float] = []
        for number in range(runs):
            asyncio.run(empty(settings, "dataverse.account"))
            program = [sys.executable, "-m", "benchmarks.loading", str(settings.data_dir), COMPANY]
            seconds, peak = measured(program)
            rates["ours"].append(rows / seconds)
            memory.append(peak / 2**20)
            if number == 0:
                guids = asyncio.run(make_floor(settings, file))
            asyncio.run(empty(settings, f"{FLOOR}.account"))
            rates["raw COPY"].append(rows / uvloop.run(raw_copy(settings, file)))
            if peers is not None:
                asyncio.run(empty(settings, "peer_dlt.account"))
                seconds, _ = measured([str(peers / "python"), str(PROGRAM), address, address])
                rates["dlt"].append(rows / seconds)
                asyncio.run(empty(settings, "peer_ingestr.account"))
                rates["ingestr"].append(rows / with_ingestr(peers / "ingestr", address, address, guids))
    for name in ("raw COPY", "dlt", "ingestr"):
        if rates[name]:
            report("initial_sync", f"{rows} customers, against {name}", rates["ours"], "rows/s", rates[name])
    report("initial_sync", f"{rows} customers: peak memory of the process", memory, "MiB")
    return statistics.median(rates["ours"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--peers", type=Path, default=None)
    options = parser.parse_args()
    rates = {rows: measure(rows, options.runs, options.peers) for rows in options.rows}
    if len(rates) > 1:
        small, large = min(rates), max(rates)
        report("initial_sync", f"rate of {large} customers against {small}", [rates[large]], "rows/s", [rates[small]])


if __name__ == "__main__":
    main()
