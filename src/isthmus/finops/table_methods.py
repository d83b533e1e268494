"""What tables do of their own accord when rows of theirs are written or deleted, whichever entity that comes through.

The counterpart of the insert, update and delete methods of F&O's tables. Each table's logic stands in the module of its
business document; here is which table has any, and in which order they run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from isthmus.apps.context import Context
from isthmus.finops import addresses, companies, parties
from isthmus.finops.data_sources import table_sql_name
from isthmus.finops.writes import RowWrite, Writes, delete
from isthmus.metadata.entity import FinopsTable
from isthmus.query.quoting import quote_identifier

if TYPE_CHECKING:
    from isthmus.finops.app import FinopsApp

WriteMethod = Callable[[Context, Writes, list[RowWrite]], Awaitable[None]]

WRITE_METHODS: tuple[tuple[str, WriteMethod], ...] = (
    ("DirPartyTable", parties.before_write_party),
    ("LogisticsPostalAddress", addresses.before_write_postal_address),
    ("LogisticsLocation", addresses.before_write_location),
    ("DirPartyLocation", addresses.before_write_party_location),
    ("LogisticsElectronicAddress", addresses.before_write_electronic_address),
)

BELONGING: dict[str, tuple[tuple[str, str], ...]] = {
    "DirPartyTable": (("DirPartyLocation", "party"), ("LogisticsElectronicAddress", "party")),
    "LogisticsLocation": (("LogisticsPostalAddress", "location"),),
}
"""Rows that go with a row they belong to: table -> (table of the belongings, column with the owner's RecId)."""


async def before_write(app: FinopsApp, context: Context, planned: Writes) -> None:
    """Let each table complete the rows that are about to be written."""
    for table, method in WRITE_METHODS:
        rows = planned.of(table)
        if rows:
            await method(context, planned, rows)


async def before_delete(
    app: FinopsApp, context: Context, table: FinopsTable, recids: Sequence[int], through: str | None
) -> None:
    """Delete what belongs to rows that are about to be deleted, and mend what they leave behind."""
    if table.name == companies.TABLE:
        await companies.check_unused(context, app.catalog, recids)
    for name, column in BELONGING.get(table.name, ()):
        owned = app.catalog.finops_tables[name]
        sql = f"select recid from {table_sql_name(owned)} where {quote_identifier(column)} = any($1::bigint[])"  # noqa: S608
        found = [record["recid"] for record in await context.transaction.rows(sql, list(recids))]
        if found:
            await delete(context, owned, found, through)
    if table.name in addresses.PRIMARY_GROUPS:
        planned = Writes(app.catalog)
        await addresses.hand_over_primary(context, planned, table, recids)
        await planned.run(context, through)
