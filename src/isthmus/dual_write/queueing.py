"""What a save does with changes that must not be carried over now: it appends them to the queue of their half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from isthmus.apps.context import Context
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.fence import QUEUEING
from isthmus.dual_write.leg import Leg, Projected
from isthmus.dual_write.queue import append, append_deleted, open_keys

if TYPE_CHECKING:
    from isthmus.dual_write.live_sync import Touched


async def queue_changes(
    exchange: Exchange, context: Context, legs: Sequence[Leg], touched: Mapping[str, Touched]
) -> None:
    """Queue what paused table maps have in `touched`, and of running ones the records that already wait in the queue:
    their changes stay behind each other. What is queued is taken out of `touched`.
    """
    queueing = [leg for leg in legs if _may_queue(exchange, context, leg)]
    for leg in queueing:
        await _queue_upserts(exchange, context, leg, touched[leg.name])
    for leg in reversed(queueing):
        await _queue_deletes(exchange, context, leg, touched[leg.name])


def _may_queue(exchange: Exchange, context: Context, leg: Leg) -> bool:
    is_live = exchange.is_live(leg.name)
    return exchange.states[leg.name] in QUEUEING or (is_live and (context.half, leg.name) in exchange.queued)


async def _queue_upserts(exchange: Exchange, context: Context, leg: Leg, touched: Touched) -> None:
    if not touched.upserts:
        return
    is_live = exchange.is_live(leg.name)
    renamed: dict[RowId, Projected] = {}
    for id_ in touched.upserts:
        before = exchange.renamed.pop((leg.name, id_), None)
        if before is not None:
            renamed[id_] = before
    principal = exchange.origin.principal.object_id
    queued = await append(context, leg, touched.upserts, renamed, principal=principal, only_behind_others=is_live)
    for id_ in [id_ for id_ in touched.upserts if not is_live or str(id_) in queued]:
        del touched.upserts[id_]


async def _queue_deletes(exchange: Exchange, context: Context, leg: Leg, touched: Touched) -> None:
    known = [id_ for id_ in touched.deletes if (leg.name, id_) in exchange.deleted]
    if exchange.is_live(leg.name) and known:
        keys = [exchange.deleted[leg.name, id_].key or "" for id_ in known]
        waiting = await open_keys(context.transaction, leg.name, keys)
        known = [id_ for id_, key in zip(known, keys, strict=True) if key in waiting]
    if known:
        records = [exchange.deleted.pop((leg.name, id_)) for id_ in known]
        await append_deleted(context, leg, records, principal=exchange.origin.principal.object_id)
    touched.deletes = [id_ for id_ in touched.deletes if (leg.name, id_) in exchange.deleted]
