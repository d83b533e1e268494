"""An environment for the tests of one file that stop or change table maps, or count records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from tests.support.writing import create

from isthmus.config import Settings
from isthmus.environments.environment import Environment


@asynccontextmanager
async def own_environment(
    templates: dict[str, str], new_database: Callable[..., Awaitable[str]]
) -> AsyncIterator[Environment]:
    """An open environment with the legal entity USMF, a currency and two customer groups."""
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    environment = await Environment.open(Settings(pool_size=5, **addresses))
    try:
        finops = environment.finops_app
        await create(finops, "CurrencyEntity", {"currencycode": "USD", "name": "US dollar", "symbol": "$"})
        await create(finops, "OMLegalEntity", {"legalentityid": "USMF", "name": "USMF"})
        for group, name in (("10", "Wholesale"), ("20", "Retail")):
            await create(
                finops,
                "CustCustomerGroupEntity",
                {"dataareaid": "usmf", "customergroupid": group, "description": name},
            )
        yield environment
    finally:
        await environment.close()


async def new_customer(environment: Environment, number: str, **values: Any) -> int:
    """A customer of USMF, made on the F&O half; its RecId."""
    (recid,) = await create(
        environment.finops_app,
        "CustCustomerV3Entity",
        {
            "dataareaid": "usmf",
            "customeraccount": number,
            "organizationname": "Adventure Works",
            "partytype": "Organization",
            "customergroupid": "10",
            "salescurrencycode": "USD",
            "creditlimit": Decimal(100),
            **values,
        },
    )
    assert isinstance(recid, int)
    return recid
