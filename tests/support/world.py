"""What stands on both halves before a record is generated: a few rows behind every lookup, in each of two companies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import asyncpg
from tests.support.oracle import Path, Values

from isthmus.finops.app import FinopsApp
from isthmus.metadata.catalog import Catalog

COMPANIES = ("usmf", "demf")


class World:
    """A copy in memory of the rows that records may refer to."""

    def __init__(self, catalog: Catalog, dataverse: asyncpg.Pool, finops: FinopsApp) -> None:
        self.catalog = catalog
        self.companies: dict[str, UUID] = {}
        self.references: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._dataverse = dataverse
        self._finops = finops
        self._rows: dict[str, dict[UUID, Values]] = {}

    def of(self, table: str, company: str | None) -> list[UUID]:
        """Ids of the rows of a table; those of one company where the table is company-specific."""
        column = self.catalog.tables[table].company_column
        rows = self._rows.get(table, {})
        if column is None:
            return list(rows)
        return [row_id for row_id, row in rows.items() if row[column] == self.companies.get(company or "")]

    def row(self, table: str, row_id: UUID) -> Values:
        """A row as it stood."""
        return self._rows[table][row_id]

    def value(self, table: str, row_id: UUID, path: Path) -> Any:
        """The value at the end of a path whose lookup leads to this row; None when a lookup on the way is empty."""
        if path.alternatives:
            return self._rows[table][row_id][dict(path.alternatives)[table]]
        here, row = self.catalog.tables[table], self._rows[table][row_id]
        for segment, following in zip(path.segments[1:], path.segments[2:], strict=False):
            targets = here.column[segment].targets
            target = next(name for name in targets if following in self.catalog.tables[name].column)
            if row[segment] not in self._rows.get(target, {}):
                return None
            here, row = self.catalog.tables[target], self._rows[target][row[segment]]
        return row[path.segments[-1]]

    def known(self, table: str, column: str, company: str | None) -> list[str] | None:
        """Texts that F&O's business logic accepts in a column that names another record; None where it accepts any."""
        found = self.references.get((table, column))
        return None if found is None else [*found.get(company or "", ()), *(found.get("", ()) if company else ())]

    async def refresh(self, tables: Iterable[str] = ()) -> None:
        """Read again what stands on both halves, in these Dataverse tables or in all that lookups lead to."""
        for table in sorted(set(tables) or self._targets()):
            key = self.catalog.tables[table].primary_id
            found = await self._dataverse.fetch(f'select * from dataverse."{table}"')
            self._rows[table] = {row[key]: dict(row) for row in found}
        self.companies = {row["cdm_companycode"].lower(): id_ for id_, row in self._rows["cdm_company"].items()}
        for (table, column), reference in self._finops.references.of.items():
            company = "dataareaid" if reference.target.company_specific else "''"
            found = await self._finops.pool.origin.fetch(
                f'select {company} as company, "{reference.target_column}" as value '
                f"from finops.{reference.target.relation} order by recid limit 12"
            )
            values: dict[str, list[str]] = {}
            for record in found:
                if record["value"]:
                    values.setdefault(record["company"], []).append(record["value"])
            self.references[table, column] = values

    def _targets(self) -> set[str]:
        return {
            target
            for table_map in self.catalog.table_maps.values()
            for column in self.catalog.tables[table_map.table].columns
            if column.type.is_lookup
            for target in column.targets
        }
