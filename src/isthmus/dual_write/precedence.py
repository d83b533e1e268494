"""Which half decides about a record that both have when an initial sync meets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from isthmus.apps.port import App
from isthmus.apps.principal import Half
from isthmus.dataverse.schema import sql_name
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.leg import Leg
from isthmus.finops.data_sources import table_sql_name
from isthmus.query.quoting import quote_identifier
from isthmus.store.transaction import Transaction


class Precedence(msgspec.Struct, frozen=True, kw_only=True):
    """`source`: the leg's source decides. `destination`: the destination keeps what it has and only gets what it can't
    know otherwise, the values of one-way field mappings. `newest`: the half that changed the record last decides, of
    two of the same time the one that `first` says (the leg out of the master goes first).

    After the first leg of an initial sync every record it wrote is new on the other half; `before` is when it began.
    """

    rule: Literal["source", "destination", "newest"] = "source"
    first: bool = True
    before: datetime | None = None


SOURCE_DECIDES = Precedence()


async def losing(
    precedence: Precedence,
    apps: Mapping[Half, App],
    exchange: Exchange,
    leg: Leg,
    targets: Mapping[RowId, RowId],
) -> set[RowId]:
    """Which of these records, given with their counterparts, leave the destination as it is."""
    if precedence.rule == "source" or not targets:
        return set()
    if precedence.rule == "destination":
        return set(targets)
    here = await _changed_at(exchange.partner.transaction, apps[leg.source], leg, list(targets))
    there = await _changed_at(exchange.origin.transaction, apps[leg.destination], leg, list(targets.values()))
    return {id_ for id_, target in targets.items() if not _wins(precedence, here.get(id_), there.get(target))}


def _wins(precedence: Precedence, here: datetime | None, there: datetime | None) -> bool:
    """Whether the source's record, changed `here`, is the newer one."""
    if here is None or there is None:
        return precedence.first
    if precedence.first:
        return here >= there
    return here > there and (precedence.before is None or here < precedence.before)


async def _changed_at(transaction: Transaction, app: App, leg: Leg, ids: Sequence[RowId]) -> dict[RowId, datetime]:
    """When records were changed last; nothing for tables that don't say."""
    if app.half == "finops":
        root = app.catalog.finops_tables[app.catalog.entity(leg.table_map.entity).root.table]
        key, column, name, type_ = "recid", "modifieddatetime", table_sql_name(root), "bigint"
    else:
        table = app.catalog.table(leg.table_map.table)
        if "modifiedon" not in table.column:
            return {}
        key, column, name, type_ = quote_identifier(table.primary_id), "modifiedon", sql_name(table), "uuid"
    sql = f"select {key} as id, {column} as changed from {name} where {key} = any($1::{type_}[])"  # noqa: S608
    return {row["id"]: row["changed"] for row in await transaction.rows(sql, ids)}
