"""The health of the configuration: whether both halves are fit to work together at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import asyncpg

from isthmus.apps.principal import Half
from isthmus.dual_write.companies import company_codes
from isthmus.dual_write.findings import HALVES_FIRST, Finding
from isthmus.metadata.catalog import Catalog
from isthmus.store.migrate import migrations_waiting
from isthmus.store.pool import fetch

_PREFIX: dict[Half, str] = {"dataverse": "DWDVEV", "finops": "DWFOEV"}

_LINK = "select id, half from isthmus.link"
_COMPANIES = """
select lower(c.cdm_companycode) as code, t.teamid is not null as has_team
from dataverse.cdm_company c left join dataverse.team t on t.teamid = c.cdm_defaultowningteam
where c.cdm_companycode is not null
"""
_STATES = "select table_map from isthmus.table_map_state"
_ROOT_TEAM = """
select u.name as unit, (select t.name from dataverse.team t where t.businessunitid = u.businessunitid and t.isdefault
    limit 1) as team
from dataverse.businessunit u where u.parentbusinessunitid is null
"""


async def check_configuration(
    pools: Mapping[Half, asyncpg.Pool], link: str, catalog: Catalog
) -> AsyncIterator[Finding]:
    """All rules about these halves, or about both when both are given; `catalog` has the table maps as they stand.

    Unavailable when one is away.
    """
    for half, pool in pools.items():
        async for finding in _database(half, pool, link):
            yield finding
    if {"dataverse", "finops"} <= pools.keys():
        async for finding in _companies(pools):
            yield finding
    for half, pool in pools.items():
        stale = sorted({row["table_map"] for row in await fetch(pool, _STATES)} - catalog.table_maps.keys())
        if stale:
            yield Finding(
                code=f"{_PREFIX[half]}1004",
                level="warning",
                half=half,
                message=f"{HALVES_FIRST[half]} keeps states of table maps that are gone: {_listed(stale)}.",
                advice="They do nothing. Delete the table maps once more, or bring their definitions back.",
                details={"table_maps": stale},
            )
    if "dataverse" in pools:
        async for finding in _default_team(pools["dataverse"]):
            yield finding


async def _database(half: Half, pool: asyncpg.Pool, link: str) -> AsyncIterator[Finding]:
    """100: a database of an older version. 1001: the row that says whose half it is."""
    waiting = await migrations_waiting(pool, "half")
    if waiting:
        yield Finding(
            code="100",
            level="error",
            half=half,
            message=f"The database of the {half} half is of an earlier version: {_listed(waiting)} did not run there.",
            advice="Run isthmus down, then isthmus up, which brings it up to date.",
        )
    row: Any = next(iter(await fetch(pool, _LINK)), None)
    if row is None or (row["id"], row["half"]) != (link, half):
        found = "says nothing" if row is None else f"says that it is the {row['half']} half of link {row['id']}"
        yield Finding(
            code=f"{_PREFIX[half]}1001",
            level="error",
            half=half,
            message=f"The database of the {half} half {found}; it should be that of link {link}.",
            advice="Name the right database in the settings, or restore both halves together.",
        )


async def _companies(pools: Mapping[Half, asyncpg.Pool]) -> AsyncIterator[Finding]:
    """1003: both halves have the same companies. DWDVEV1007: each has a team that owns its rows."""
    companies = {row["code"]: row["has_team"] for row in await fetch(pools["dataverse"], _COMPANIES)}
    legal_entities = set(await company_codes("finops", pools["finops"]))
    missing = {"dataverse": legal_entities - companies.keys(), "finops": companies.keys() - legal_entities}
    advice = {
        "dataverse": "Run the table map of companies with an initial sync from finance and operations.",
        "finops": "Make the legal entity, or delete the company if nobody needs it.",
    }
    for half in ("dataverse", "finops"):
        if missing[half]:
            codes = sorted(missing[half])
            yield Finding(
                code=f"{_PREFIX[half]}1003",
                level="error",
                half=half,
                message=f"{HALVES_FIRST[half]} lacks companies that the other one has: {_listed(codes)}. None of their "
                "records flow.",
                advice=advice[half],
                details={"companies": codes},
            )
    teamless = sorted(code for code, has_team in companies.items() if not has_team)
    if teamless:
        yield Finding(
            code="DWDVEV1007",
            level="error",
            half="dataverse",
            message=f"Companies without a default owning team: {_listed(teamless)}. Their rows belong to no team.",
            advice="Set cdm_defaultowningteam of each to a team.",
            details={"companies": teamless},
        )


async def _default_team(dataverse: asyncpg.Pool) -> AsyncIterator[Finding]:
    """DWFOEV1006: the default team of the root business unit has the unit's name; it owns rows without a company."""
    for row in await fetch(dataverse, _ROOT_TEAM):
        if row["team"] != row["unit"]:
            team = "has no default team" if row["team"] is None else f"has the default team '{row['team']}'"
            yield Finding(
                code="DWFOEV1006",
                level="warning",
                half="dataverse",
                message=f"The root business unit '{row['unit']}' {team}; a default team is named like its unit.",
                advice="Rename the team. Rows without a company belong to it.",
            )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown
