"""Repair: records that differ are brought into line from the half that is right, each in a save of its own.

A save like any other: record locks, business logic, both halves in one commit. What the chosen half has is written to
the other one; what it lacks is deleted there, when that is asked for. Each record has a result of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from uuid import UUID

import msgspec

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.apps.port import App
from isthmus.apps.principal import DUAL_WRITE, Half
from isthmus.dual_write.closer_look import Candidate, CloserLook, DifferentValue
from isthmus.dual_write.delivery import HALF_NAMES, project
from isthmus.dual_write.dependencies import check_known
from isthmus.dual_write.exchange import RowId
from isthmus.dual_write.fence import QUEUEING
from isthmus.dual_write.fresh_batch import Carried
from isthmus.dual_write.fresh_delivery import FreshDelivery
from isthmus.dual_write.leg import Leg
from isthmus.dual_write.leg_comparison import compile_comparison
from isthmus.dual_write.legs import CurrentLegs
from isthmus.dual_write.live_sync import LiveSync
from isthmus.errors import Conflict, IsthmusError, Rejected
from isthmus.finops.data_sources import Compiled
from isthmus.store.transaction import Transaction

Outcome = Literal["created", "updated", "deleted", "unchanged", "refused"]

_STATE = "select state from isthmus.table_map_state where table_map = $1"


class Apart(msgspec.Struct, frozen=True, kw_only=True):
    """A record to be repaired, by its ids on both halves as a difference names them; None where it is missing."""

    finops_id: int | None = None
    dataverse_id: UUID | None = None

    def on(self, half: Half) -> RowId | None:
        """The record's id on a half."""
        return self.finops_id if half == "finops" else self.dataverse_id


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a record. `code` and `message` say why it was refused or could not be written completely.

    `left` are values that still differ: those that the map does not carry away from the chosen half.
    """

    record: Apart
    outcome: Outcome
    code: str | None = None
    message: str | None = None
    left: tuple[DifferentValue, ...] = ()


class Repair:
    """Repairs records of the table maps as they stand."""

    def __init__(
        self, apps: Mapping[Half, App], live_sync: LiveSync, delivery: FreshDelivery, legs: CurrentLegs
    ) -> None:
        self._apps = apps
        self._live_sync = live_sync
        self._delivery = delivery
        self._legs = legs

    async def repair(
        self, table_map: str, side: Half, records: Sequence[Apart], *, delete: bool = False, correlation_id: str
    ) -> list[Repaired]:
        """Bring these records into line from `side`, in this order; `delete` removes from the other half what it lacks.

        NotFound (table_map_not_found); Rejected (direction_not_mapped) when the map carries nothing away from `side`.
        Refusals of single records are results, as are races that were lost too often.
        """
        check_known([table_map], (await self._legs.refresh()).catalog)
        leg = self._leg(table_map, side)
        return [await self._one(leg, record, delete, correlation_id) for record in records]

    async def send(self, table_map: str, side: Half, ids: Sequence[RowId], *, correlation_id: str) -> list[Repaired]:
        """Send records of `side` as they stand now, such as those of a live save that was refused."""
        records = [Apart(finops_id=i) if isinstance(i, int) else Apart(dataverse_id=i) for i in ids]
        return await self.repair(table_map, side, records, correlation_id=correlation_id)

    def _leg(self, table_map: str, source: Half) -> Leg:
        leg = self._legs.now.by_map.get((table_map, source))
        if leg is None:
            raise Rejected(
                f"Table map '{table_map}' carries nothing away from {HALF_NAMES[source]}. Choose the other half, or "
                "correct the record where it is.",
                code="direction_not_mapped",
                table_map=table_map,
                half=source,
            )
        return leg

    async def _one(self, leg: Leg, record: Apart, delete: bool, correlation_id: str) -> Repaired:
        here, there = record.on(leg.source), record.on(leg.destination)
        try:
            if here is not None:
                return await self._carry(leg, record, here, correlation_id)
            if there is not None and delete:
                return await self._delete(leg, record, there, correlation_id)
        except IsthmusError as error:
            return Repaired(record=record, outcome="refused", code=error.code, message=error.message)
        message = (
            f"{HALF_NAMES[leg.source].capitalize()} has no such record. Ask for it to be deleted on the other half."
        )
        return Repaired(record=record, outcome="refused", code="record_missing_here", message=message)

    async def _carry(self, leg: Leg, record: Apart, id_: RowId, correlation_id: str) -> Repaired:
        results: list[Carried] = []

        async def keep(transaction: Transaction, carried: Carried) -> None:
            await _check_not_queueing(transaction, leg)
            results.append(carried)

        await self._delivery.carry(leg, [id_], keep, correlation_id=correlation_id)
        carried = results[-1]
        left = await self._left(leg, id_)
        outcome: Outcome = "created" if carried.inserted else "updated" if carried.updated else "unchanged"
        for refusal in carried.refusals:
            outcome = outcome if refusal.written else "refused"
            return Repaired(record=record, outcome=outcome, code=refusal.code, message=refusal.message, left=left)
        if carried.gone:
            return Repaired(
                record=record,
                outcome="refused",
                code="record_takes_no_part",
                message="The record is gone, or does not pass the filter of the table map any more. Compare again.",
            )
        return Repaired(record=record, outcome=outcome, left=left)

    async def _delete(self, leg: Leg, record: Apart, id_: RowId, correlation_id: str) -> Repaired:
        """Delete the record on the leg's destination, once it is certain that the source has none of its key."""
        back = self._leg(leg.name, leg.destination)
        async with self._apps[leg.destination].context(DUAL_WRITE, correlation_id=correlation_id) as context:
            exchange = self._live_sync.exchange(context)
            await exchange.enter([leg.name])
            await _check_not_queueing(context.transaction, leg)
            keys = await context.transaction.rows(back.keys_of_ids, [id_])
            await exchange.lock((leg.name, row["key"]) for row in keys if row["key"] is not None)
            await self._check_missing(context, back, id_)
            table = leg.table_map.table if leg.destination == "dataverse" else leg.table_map.entity
            message = Message(operation=Operation.DELETE, table=table, rows=[Row(id=id_)], through=leg.name)
            await context.app.execute(context, message)
            await context.commit()
        return Repaired(record=record, outcome="deleted")

    async def _check_missing(self, context: Context, back: Leg, id_: RowId) -> None:
        records = await project(context, back, [id_])
        look = self._look(back)
        found = await look.look([Candidate(back.source, id_, records[0].key if records else None)])
        if not any(difference.kind.startswith("missing") for difference in found.values()):
            raise Conflict(
                f"The record is gone by now, or {HALF_NAMES[back.destination]} has it. Compare again.",
                code="record_not_missing",
                table_map=back.name,
            )

    async def _left(self, leg: Leg, id_: RowId) -> tuple[DifferentValue, ...]:
        found = await self._look(leg).look([Candidate(leg.source, id_, None)])
        return tuple(value for difference in found.values() for value in difference.values)

    def _look(self, leg: Leg) -> CloserLook:
        catalog = self._legs.now.catalog
        comparison = compile_comparison(leg.table_map, catalog, Compiled(catalog)[leg.table_map.entity])
        return CloserLook({half: app.pool for half, app in self._apps.items()}, comparison, {leg.source: leg})


async def _check_not_queueing(transaction: Transaction, leg: Leg) -> None:
    """Changes that wait in the queue would be applied over the repair."""
    state = await transaction.value(_STATE, leg.name)
    if state in QUEUEING:
        raise Conflict(
            f"Table map '{leg.name}' is {state}: its changes wait in a queue. Resume it, compare again, then repair "
            "what still differs.",
            code="table_map_queueing",
            table_map=leg.name,
        )
