"""What a save does with changes that must not be carried over now: it appends them to the queue of their half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isthmus.apps.context import Context
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.fence import QUEUEING
from isthmus.dual_write.leg import Leg, Projected
from isthmus.dual_write.queue import append, append_deleted, open_records

Upserts = Mapping[RowId, set[str] | None]


async def queue_upserts(exchange: Exchange, context: Context, leg: Leg, upserts: Upserts) -> Upserts:
    """Queue records of a paused table map as they stand now, and of a running one those that already wait in the queue:
    their changes stay behind each other. What is left to carry over."""
    if not upserts or not _may_queue(exchange, context, leg):
        return upserts
    is_live = exchange.is_live(leg.name)
    renamed: dict[RowId, Projected] = {}
    for id_ in upserts:
        before = exchange.renamed.pop((leg.name, id_), None)
        if before is not None:
            renamed[id_] = before
    principal = exchange.origin.principal.object_id
    queued = await append(context, leg, upserts, renamed, principal=principal, only_behind_others=is_live)
    return {id_: new for id_, new in upserts.items() if is_live and str(id_) not in queued}


async def queue_deletes(exchange: Exchange, context: Context, leg: Leg, deletes: Sequence[RowId]) -> Sequence[RowId]:
    """The same for records that are deleted."""
    known = [id_ for id_ in deletes if (leg.name, id_) in exchange.deleted]
    if not known or not _may_queue(exchange, context, leg):
        return deletes
    if exchange.is_live(leg.name):
        waiting = await open_records(context.transaction, leg.name, [exchange.deleted[leg.name, id_] for id_ in known])
        known = [id_ for id_ in known if id_ in waiting]
    records = [exchange.deleted.pop((leg.name, id_)) for id_ in known]
    if records:
        await append_deleted(context, leg, records, principal=exchange.origin.principal.object_id)
    return [id_ for id_ in deletes if id_ not in known]


def _may_queue(exchange: Exchange, context: Context, leg: Leg) -> bool:
    is_live = exchange.is_live(leg.name)
    return exchange.states[leg.name] in QUEUEING or (is_live and (context.half, leg.name) in exchange.queued)
