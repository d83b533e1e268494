"""A finance and operations half with two companies and the setup that customers and vendors need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest
import uvicorn
from tests.support.callers import CALLER

from isthmus.apps.change import Change, Operation
from isthmus.apps.message import Message, Row
from isthmus.finops.app import FinopsApp
from isthmus.finops.odata import ODataService
from isthmus.finops.schema import migrate, view_name
from isthmus.metadata.catalog import Catalog
from isthmus.solutions import catalog as shipped_catalog
from isthmus.store.migrate import migrate as migrate_isthmus

CUSTOMERS, VENDORS, PARTIES = "CustCustomerV3Entity", "VendVendorV2Entity", "DirPartyCDSEntity"
GROUPS, TERMS = "CustCustomerGroupEntity", "PaymentTermEntity"

SETUP: tuple[tuple[str, dict[str, Any]], ...] = (
    ("CurrencyEntity", {"currencycode": "USD", "name": "US dollar"}),
    ("CurrencyEntity", {"currencycode": "EUR", "name": "Euro"}),
    ("OMLegalEntity", {"legalentityid": "USMF", "name": "Contoso US"}),
    ("OMLegalEntity", {"legalentityid": "DEMF", "name": "Contoso Germany"}),
    (
        "LedgerEntity",
        {
            "legalentityid": "USMF",
            "name": "USMF",
            "fiscalcalendar": "Fiscal",
            "chartofaccounts": "Shared",
            "accountingcurrency": "USD",
        },
    ),
    (TERMS, {"dataareaid": "usmf", "name": "Net30", "description": "30 days net", "numberofdays": 30}),
    (TERMS, {"dataareaid": "demf", "name": "Net14", "description": "14 days net", "numberofdays": 14}),
    (GROUPS, {"dataareaid": "usmf", "customergroupid": "10", "description": "Wholesale", "paymenttermid": "Net30"}),
    (GROUPS, {"dataareaid": "usmf", "customergroupid": "20", "description": "Retail"}),
    (GROUPS, {"dataareaid": "demf", "customergroupid": "10", "description": "Grosshandel"}),
    ("VendVendorGroupEntity", {"dataareaid": "usmf", "vendorgroupid": "10", "description": "Parts"}),
)

Write = Callable[..., Awaitable[list[Change]]]
Create = Callable[..., Awaitable[int]]
Read = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return shipped_catalog()


@pytest.fixture(scope="session")
async def database(new_database: Callable[..., Awaitable[str]], catalog: Catalog) -> str:
    """The address of a migrated database."""
    dsn = await new_database()
    connection = await asyncpg.connect(dsn)
    await migrate_isthmus(connection, "half")
    await migrate(connection, catalog)
    await connection.close()
    return dsn


@pytest.fixture(scope="session")
async def app(database: str, catalog: Catalog) -> AsyncIterator[FinopsApp]:
    app = await FinopsApp.open(database, catalog, size=5, default_company="usmf")
    for entity, values in SETUP:
        async with app.context(CALLER, correlation_id="setup") as context:
            message = Message(operation=Operation.CREATE, table=entity, rows=[Row(values=dict(values))])
            await app.execute(context, message)
            await context.commit()
    yield app
    await app.close()


@pytest.fixture
def write(app: FinopsApp) -> Write:
    """Run one message in a transaction of its own; returns its changes."""

    async def run(operation: Operation, entity: str, *rows: Row, **options: Any) -> list[Change]:
        async with app.context(CALLER, correlation_id="test") as context:
            await app.execute(context, Message(operation=operation, table=entity, rows=list(rows), **options))
            await context.commit()
        return context.changes

    return run


@pytest.fixture
def create(write: Write) -> Create:
    """Create one record; returns its RecId."""

    async def run(entity: str, **values: Any) -> int:
        row = Row(values=values)
        await write(Operation.CREATE, entity, row)
        assert isinstance(row.id, int)
        return row.id

    return run


@pytest.fixture
def new_customer(create: Create) -> Create:
    """Create a customer of USMF; returns its RecId."""

    async def run(**values: Any) -> int:
        defaults = {"dataareaid": "usmf", "customergroupid": "20", "organizationname": "Fabrikam"}
        return await create(CUSTOMERS, **(defaults | values))

    return run


@pytest.fixture
def read(app: FinopsApp) -> Read:
    """A record as its entity's view shows it, by RecId."""

    async def run(entity: str, recid: int) -> dict[str, Any]:
        view = view_name(app.catalog, app.catalog.entity(entity))
        record = await app.pool.origin.fetchrow(f'select * from finops."{view}" where recid = $1', recid)
        return dict(record) if record else {}

    return run


class Served:
    """The half over HTTP; paths are below `/data`."""

    def __init__(self, base: str, client: httpx.AsyncClient) -> None:
        self.base = base
        self.client = client

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, f"{self.base}/{path}", json=body, headers=sent)

    async def get(self, path: str, **headers: str) -> Any:
        """The JSON of a GET that succeeds."""
        answer = await self("GET", path, **headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, method: str, path: str, status: int, body: Any = None, **headers: str) -> str:
        """The inner message of a request that fails with `status`."""
        answer = await self(method, path, body, **headers)
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert error["code"] == "" and error["message"] == "An error has occurred."
        assert error["innererror"]["stacktrace"] == ""
        return str(error["innererror"]["message"])


@pytest.fixture(scope="session")
async def api(app: FinopsApp) -> AsyncIterator[Served]:
    service = ODataService(app)

    async def authenticated(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope["isthmus.principal"] = CALLER
        await service(scope, receive, send)

    config = uvicorn.Config(authenticated, host="127.0.0.1", port=0, lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(timeout=30) as client:
        yield Served(f"http://127.0.0.1:{port}/data", client)
    server.should_exit = True
    await serving
