"""Companies (legal entities) as the halves have them, by their codes in lower case."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import asyncpg

from isthmus.apps.principal import Half
from isthmus.errors import Rejected
from isthmus.finops.companies import FIELD, TABLE
from isthmus.finops.data_sources import SCHEMA
from isthmus.store.connections import Connections
from isthmus.store.pool import Pool, fetch

_CODES: Mapping[Half, str] = {
    "finops": f"select lower({FIELD}) as code from {SCHEMA}.{TABLE.lower()} order by 1",  # noqa: S608  (constants)
    "dataverse": """
        select distinct lower(cdm_companycode) as code from dataverse.cdm_company
        where cdm_companycode is not null order by 1
    """,
}


async def company_codes(half: Half, pool: Connections | asyncpg.Pool) -> list[str]:
    """The codes, in lower case and in order, of the companies that a half has."""
    return [row["code"] for row in await fetch(pool, _CODES[half])]


async def check_companies(pools: Mapping[Half, Pool], wanted: Collection[str] | None) -> None:
    """Rejected (`company_not_found`) when neither half has one of these companies. None stands for all there are."""
    if wanted is None:
        return
    found = await asyncio.gather(*(company_codes(half, pool.origin) for half, pool in pools.items()))
    known = {code for codes in found for code in codes}
    if unknown := [code for code in wanted if code.lower() not in known]:
        names = "', '".join(unknown)
        raise Rejected(
            f"Neither half has the company '{names}'. Name a legal entity by its code: F&O lists them as "
            "LegalEntities, Dataverse as cdm_companies.",
            code="company_not_found",
            field="companies",
        )
