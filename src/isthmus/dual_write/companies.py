"""Companies (legal entities) as the halves have them, by their codes in lower case."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from isthmus.apps.principal import Half
from isthmus.dataverse.schema import sql_name
from isthmus.errors import Rejected
from isthmus.finops.companies import FIELD, TABLE
from isthmus.finops.data_sources import SCHEMA
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.map_path import COMPANY_CODE, COMPANY_TABLE
from isthmus.query.quoting import quote_identifier
from isthmus.store.connections import Connections
from isthmus.store.pool import Pool, fetch


async def companies(pool: Connections, half: Half, catalog: Catalog) -> list[str]:
    """The companies of one half, in order."""
    if half == "finops":
        sql = f"select lower({FIELD}) as code from {SCHEMA}.{TABLE.lower()} order by 1"  # noqa: S608  (constants)
    else:
        table, code = sql_name(catalog.table(COMPANY_TABLE)), quote_identifier(COMPANY_CODE)
        sql = f"select distinct lower({code}) as code from {table} where {code} is not null order by 1"  # noqa: S608
    return [row["code"] for row in await fetch(pool, sql)]


async def check_companies(pools: Mapping[Half, Pool], catalog: Catalog, wanted: Collection[str] | None) -> None:
    """Rejected (`company_not_found`) when neither half has one of these companies. None stands for all there are."""
    if wanted is None:
        return
    found = await asyncio.gather(*(companies(pool.origin, half, catalog) for half, pool in pools.items()))
    known = {code for codes in found for code in codes}
    if unknown := [code for code in wanted if code.lower() not in known]:
        names = "', '".join(unknown)
        raise Rejected(
            f"Neither half has the company '{names}'. Name a legal entity by its code: F&O lists them as "
            "LegalEntities, Dataverse as cdm_companies.",
            code="company_not_found",
            field="companies",
        )
