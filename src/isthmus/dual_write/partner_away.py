"""Saves that could not be made because the partner half was away, told by table map and record."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from isthmus.apps.context import Context
from isthmus.dual_write.delivery import named_records, project
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.findings import HALVES_FIRST
from isthmus.dual_write.leg import Leg, Projected
from isthmus.dual_write.shown_key import shown_key
from isthmus.errors import Unavailable


async def saves_refused(
    exchange: Exchange, context: Context, touched: Mapping[str, Collection[RowId]], error: Unavailable
) -> list[Unavailable]:
    """The error that the partner is away, once for each live table map with the records `touched` by it on this half.

    A record that the save was about to make is not known; its table map is named when it can be one only.
    """
    live = [leg for leg in exchange.legs.all[context.half] if leg.name in touched and _is_live(exchange, leg)]
    found = []
    for leg in live:
        deleted = [exchange.deleted[key] for id_ in touched[leg.name] if (key := (leg.name, id_)) in exchange.deleted]
        records = [*(record for record in await project(context, leg, touched[leg.name]) if record.passes), *deleted]
        if records:
            found.append(_away(leg, list({record.id: record for record in records}.values()), error))
    return found or [_away(leg, [], error) for leg in live if len(live) == 1] or [error]


def _is_live(exchange: Exchange, leg: Leg) -> bool:
    return leg.name in exchange.states and exchange.is_live(leg.name)


def _away(leg: Leg, records: Sequence[Projected], error: Unavailable) -> Unavailable:
    keys = "; ".join(shown_key(record.key) or str(record.id) for record in records[:3])
    more = "; ..." if len(records) > 3 else ""
    named = f"table map '{leg.name}', record {keys}{more}" if records else f"table map '{leg.name}'"
    return Unavailable(
        f"{HALVES_FIRST[leg.destination]} is away: {error.message} ({named[0].upper()}{named[1:]}. Nothing was saved "
        "on either half.)",
        code=error.code,
        table_map=leg.name,
        key=keys or None,
        records=named_records(leg, records),
    )
