"""The records that a leg begins at, as an initial sync goes through them: by company, in the order of their ids."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.schema import sql_name
from isthmus.dual_write.companies import company_codes
from isthmus.dual_write.exchange import RowId
from isthmus.dual_write.leg import Leg
from isthmus.finops.app import FinopsApp
from isthmus.finops.data_sources import fixed_conditions
from isthmus.metadata.map_path import COMPANY_CODE, COMPANY_TABLE
from isthmus.query.quoting import quote_identifier
from isthmus.store.connections import Connections
from isthmus.store.pool import fetch

NO_COMPANY = ""
"""Stands for the company of records of tables that have none."""


def row_id(leg: Leg, text: str) -> RowId:
    """The id of a record at the leg's source, from its text."""
    return int(text) if leg.source == "finops" else UUID(text)


class SourceRecords:
    """Reads ids; which of the records take part, their projection says."""

    def __init__(self, dataverse: DataverseApp, finops: FinopsApp) -> None:
        self._dataverse = dataverse
        self._finops = finops

    async def companies(self, leg: Leg, wanted: Collection[str] | None) -> list[str]:
        """The parts that a leg is divided into: companies (lower case) of its source, those `wanted` if any are."""
        if not self._is_company_specific(leg):
            return [NO_COMPANY]
        chosen = None if wanted is None else {code.lower() for code in wanted}
        known = await company_codes(leg.source, self._pool(leg))
        return [code for code in known if chosen is None or code in chosen]

    async def count(self, leg: Leg, company: str) -> int:
        """Number of records of a part, those among them that the table map's filter leaves out."""
        source, _ = self._source(leg, company)
        rows = await fetch(self._pool(leg), f"select count(*) from {source}", *_arguments(company))  # noqa: S608
        return int(rows[0][0])

    async def after(self, leg: Leg, company: str, last_id: RowId | None, limit: int) -> list[RowId]:
        """The ids of the next records of a part."""
        source, key = self._source(leg, company)
        arguments = _arguments(company)
        if last_id is not None:
            arguments.append(last_id)
            source += f" and {key} > ${len(arguments)}"
        sql = f"select {key} from {source} order by {key} limit {int(limit)}"  # noqa: S608  (definitions)
        return [row[0] for row in await fetch(self._pool(leg), sql, *arguments)]

    def _pool(self, leg: Leg) -> Connections:
        return (self._finops if leg.source == "finops" else self._dataverse).pool.origin

    def _is_company_specific(self, leg: Leg) -> bool:
        catalog = self._dataverse.catalog
        if leg.source == "finops":
            return catalog.entity(leg.table_map.entity).company_specific
        return catalog.table(leg.table_map.table).company_column is not None

    def _source(self, leg: Leg, company: str) -> tuple[str, str]:
        """FROM and WHERE of the records of a part ($1 is its company), and the SQL of their id."""
        if leg.source == "finops":
            root = self._finops.compiled[leg.table_map.entity].root
            conditions = fixed_conditions(root, "t")
            if company:
                conditions.append("t.dataareaid = $1")
            return f"{root.sql_name} t where {' and '.join(conditions) or 'true'}", "t.recid"
        catalog = self._dataverse.catalog
        table = catalog.table(leg.table_map.table)
        condition = "true"
        if company:
            companies = catalog.table(COMPANY_TABLE)
            condition = (
                f"t.{quote_identifier(table.company_column or '')} in "  # noqa: S608  (definitions)
                f"(select c.{quote_identifier(companies.primary_id)} from {sql_name(companies)} c "
                f"where lower(c.{quote_identifier(COMPANY_CODE)}) = $1)"
            )
        return f"{sql_name(table)} t where {condition}", f"t.{quote_identifier(table.primary_id)}"


def _arguments(company: str) -> list[str | RowId]:
    return [company] if company else []
