"""Legal entities as companies: the rows of CompanyInfo say which ones there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isthmus.apps.context import Context
from isthmus.clock import monotonic
from isthmus.errors import Conflict, Rejected
from isthmus.finops.data_sources import SCHEMA, table_sql_name
from isthmus.metadata.catalog import Catalog

TABLE, FIELD = "CompanyInfo", "dataarea"
"""Where the companies stand: F&O table, physical column of the company's id."""

KNOWN_SECONDS = 5.0
"""How long a company that was found is taken to be there; one that has records can't be deleted anyway."""

_SQL = f"select lower({FIELD}) as id from {SCHEMA}.{TABLE.lower()}"  # noqa: S608  (constants)


class Companies:
    """Which companies there are, remembered for a moment."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._until = 0.0

    async def check(self, context: Context, companies: Iterable[str]) -> None:
        """Rejected (`company_not_found`) when one of these companies (lower case) does not exist."""
        wanted = set(companies)
        if wanted <= self._known and monotonic() < self._until:
            return
        found = frozenset(record["id"] for record in await context.transaction.rows(_SQL))
        missing = sorted(wanted - found)
        if missing:
            raise Rejected(
                f"The legal entity '{missing[0]}' does not exist. Give dataAreaId the id of one that does.",
                code="company_not_found",
                field="dataAreaId",
                value=missing[0],
            )
        # What this transaction makes itself may yet be rolled back.
        if all(change.table != TABLE for change in context.changes):
            self._known, self._until = found, monotonic() + KNOWN_SECONDS


async def check_unused(context: Context, catalog: Catalog, recids: Sequence[int]) -> None:
    """Conflict (`in_use`) when a company that is about to be deleted still has records of its own."""
    used = " union all ".join(
        f"(select '{table.name}' as name from {table_sql_name(table)} t "  # noqa: S608  (definitions)
        f"join {SCHEMA}.{TABLE.lower()} c on t.dataareaid = lower(c.{FIELD}) where c.recid = any($1::bigint[]) limit 1)"
        for table in catalog.finops_tables.values()
        if table.company_specific
    )
    name = await context.transaction.value(f"select name from ({used}) used limit 1", list(recids))  # noqa: S608
    if name is not None:
        raise Conflict(
            f"The legal entity can't be deleted while records of {name} belong to it. Delete those first.",
            code="in_use",
            table=TABLE,
            used_by=name,
        )
