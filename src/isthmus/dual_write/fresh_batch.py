"""One batch of records on its way to the destination of a leg: what each gets, what it must do without for now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.apps.port import App
from isthmus.apps.principal import Half
from isthmus.dataverse.schema import sql_name
from isthmus.dual_write.delivery import Delivery
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.leg import Leg, Projected, Resolved
from isthmus.dual_write.leg_sql import entity_rows
from isthmus.dual_write.missing_references import missing_references
from isthmus.dual_write.parents import parents_without_key
from isthmus.dual_write.precedence import Precedence, losing
from isthmus.dual_write.refusals import (
    head,
    missing_lookup,
    names_without_key,
    refusal,
    without_counterpart,
    without_key,
)
from isthmus.dual_write.refused_records import Refusal
from isthmus.finops.app import FinopsApp
from isthmus.query.quoting import quote_identifier


class Carried(msgspec.Struct, kw_only=True):
    """What became of a batch. `ids` are all its records; `gone` of them don't take part, or are not there any more."""

    ids: Sequence[RowId]
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    gone: int = 0
    refusals: list[Refusal] = []

    @property
    def complete(self) -> list[str]:
        """The records of which nothing is left to do."""
        refused = {one.record_id for one in self.refusals}
        return [str(id_) for id_ in self.ids if str(id_) not in refused]


class _Piece(msgspec.Struct):
    """A record on its way: where it goes, what it gets, and what it must do without for now."""

    record: Projected
    target: RowId | None
    values: dict[str, Any]
    refusal: Refusal | None = None


class FreshBatch:
    """Writes the records of one batch. The exchange's origin is the destination half; its locks are held already.

    `precedence` says what happens to records that the destination has; `lacking` names, by record, columns that an
    earlier attempt had to leave out.
    """

    def __init__(
        self,
        exchange: Exchange,
        leg: Leg,
        apps: Mapping[Half, App],
        finops: FinopsApp,
        precedence: Precedence,
        lacking: Mapping[str, frozenset[str]],
    ) -> None:
        self._exchange = exchange
        self._leg = leg
        self._apps = apps
        self._finops = finops
        self._precedence = precedence
        self._lacking = lacking
        self._delivery = Delivery(exchange, apps[leg.destination])

    async def write(self, ids: Sequence[RowId], records: Sequence[Projected]) -> Carried:
        """Create and update the counterparts of `records`, as they are now; `ids` are all that were asked for.

        Raises the refusal of the destination, which may be about any of them: the save must be rolled back then.
        """
        leg = self._leg
        carried = Carried(ids=ids, gone=len(ids) - sum(record.passes for record in records))
        records = [record for record in records if record.passes]
        carried.refusals += [without_counterpart(leg, record) for record in records if record.faults]
        sound = [record for record in records if not record.faults]
        found = await self._delivery.resolve(leg, sound)
        targets = {sound[item.ordinal].id: item.target for item in found if item.target is not None}
        kept = await losing(self._precedence, self._apps, self._exchange, leg, targets)
        pieces = []
        for item in found:
            record = sound[item.ordinal]
            names = None
            if record.id in kept:
                names = set(leg.one_way) | _values_of(leg, self._lacking.get(str(record.id), frozenset()))
            pieces.append(self._piece(record, item, names))
        if leg.destination == "finops":
            await self._leave_out_unkeyed(pieces)
            await self._leave_out_references(pieces)
        carried.refusals += [piece.refusal for piece in pieces if piece.refusal is not None]
        pieces = [piece for piece in pieces if piece.refusal is None or piece.refusal.written]
        await self._drop_what_stands(pieces)
        await self._send(pieces, carried)
        return carried

    def _piece(self, record: Projected, found: Resolved, names: set[str] | None) -> _Piece:
        leg = self._leg
        values = self._delivery.values(leg, record, found, None if found.target is None else names)
        piece = _Piece(record, found.target, values)
        missing = found.missing
        if names is not None and found.target is not None:
            missing = [column for column in missing if any(head(name) == column for name in names)]
        if missing:
            piece.refusal = missing_lookup(leg, record, missing, is_key=not _key_heads(leg).isdisjoint(missing))
        elif leg.destination == "dataverse" and record.key is None:
            piece.refusal = without_key(leg, record)
        return piece

    async def _leave_out_unkeyed(self, pieces: list[_Piece]) -> None:
        """Take values out that name rows which have still to get a key.

        New records wait for it: F&O would make up a party for a customer that came without one. Not so for a row of
        their own kind, which may name them in turn.
        """
        parents = await parents_without_key(self._exchange, self._leg, [piece.record for piece in pieces])
        waiting = {id_ for _, ids in parents for id_ in ids}
        for piece in pieces:
            unkeyed = piece.record.unkeyed or {}
            names = [name for name, parent in unkeyed.items() if name in piece.values and parent in waiting]
            if names:
                own = all(any(table == self._leg.root for table, _ in self._leg.parents[name]) for name in names)
                piece.refusal = names_without_key(piece.record, names, written=own or piece.target is not None)
            for name in names:
                del piece.values[name]

    async def _leave_out_references(self, pieces: list[_Piece]) -> None:
        """Take values out that name records which are not there; a record that needs one is not written for now."""
        transaction = self._exchange.origin.transaction
        sources = self._finops.compiled[self._leg.table_map.entity]
        rows = [{"dataareaid": piece.record.company or "", **piece.values} for piece in pieces]
        needed = set(self._leg.resolved) | {field.column for field in sources.entity.fields if field.mandatory}
        for missing in await missing_references(self._finops, transaction, sources, rows):
            piece = pieces[missing.ordinal]
            del piece.values[missing.field]
            written = missing.field not in needed and (piece.refusal is None or piece.refusal.written)
            columns = [*(piece.refusal.columns if piece.refusal else ()), missing.field]
            piece.refusal = refusal(
                piece.record,
                code="reference_not_found",
                message=f"The value '{missing.value}' of field '{missing.field}' names no record of {missing.target}. "
                "Create that record, or correct the value, then run the errors again.",
                columns=columns,
                value=missing.value,
                missing_parent=missing.parent,
                written=written,
            )

    async def _drop_what_stands(self, pieces: Collection[_Piece]) -> None:
        """Take out of updates what the destination holds already."""
        existing = {piece.target: piece for piece in pieces if piece.target is not None and piece.values}
        if not existing:
            return
        names = sorted(set().union(*(piece.values for piece in existing.values())))
        sql = self._standing_sql(names)
        for row in await self._exchange.origin.transaction.rows(sql, list(existing)):
            piece = existing[row[0]]
            standing = dict(zip(names, tuple(row)[1:], strict=True))
            piece.values = {name: value for name, value in piece.values.items() if value != standing[name]}

    def _standing_sql(self, names: Sequence[str]) -> str:
        leg = self._leg
        columns = ", ".join(f"v.{quote_identifier(name)}" for name in names)
        catalog = self._finops.catalog
        if leg.destination == "finops":
            rows = entity_rows(self._finops.compiled[leg.table_map.entity], names)
            return f"select v.recid, {columns} from ({rows}) v where v.recid = any($1::bigint[])"  # noqa: S608
        table = catalog.table(leg.table_map.table)
        key = f"v.{quote_identifier(table.primary_id)}"
        return f"select {key}, {columns} from {sql_name(table)} v where {key} = any($1::uuid[])"  # noqa: S608

    async def _send(self, pieces: Sequence[_Piece], carried: Carried) -> None:
        exchange, leg = self._exchange, self._leg
        created = [piece for piece in pieces if piece.target is None]
        changed = [piece for piece in pieces if piece.target is not None and piece.values]
        for piece in pieces:
            if piece.target is not None:
                exchange.pair(leg, piece.record.id, piece.target)
        for operation, some in ((Operation.CREATE, created), (Operation.UPDATE, changed)):
            rows = [Row(id=piece.target, values=piece.values) for piece in some]
            table = leg.table_map.table if leg.destination == "dataverse" else leg.table_map.entity
            message = Message(operation=operation, table=table, rows=rows, through=leg.name)
            await exchange.origin.app.execute(exchange.origin, message)
            if operation is Operation.CREATE:
                for piece, row in zip(some, rows, strict=True):
                    assert row.id is not None, "the app gives every created row its id"
                    exchange.pair(leg, piece.record.id, row.id)
        carried.inserted += len(created)
        carried.updated += len(changed)
        carried.unchanged += len(pieces) - len(created) - len(changed)


def _values_of(leg: Leg, columns: Collection[str]) -> set[str]:
    """The destination values that these columns, or fields, are made of."""
    if leg.destination == "finops":
        return set(columns)
    return {name for name, path in leg.paths.items() if path.head.name in columns}


def _key_heads(leg: Leg) -> set[str]:
    return {head(path) for path in leg.table_map.integration_key}
