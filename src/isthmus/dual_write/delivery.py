"""Delivery of one round of changes to the destination half: one batch per leg, references that need each other last."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.apps.port import App
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.fence import enter
from isthmus.dual_write.leg import PARTNER, Leg, Projected, Resolved
from isthmus.dual_write.no_counterpart import no_counterpart
from isthmus.dual_write.payload import column_value, field_values
from isthmus.dual_write.shown_key import shown_key
from isthmus.dual_write.superseding import give_way, supersede
from isthmus.errors import IsthmusError, Rejected, Unavailable

HALF_NAMES = {"dataverse": "the Dataverse half", "finops": "the finance and operations half"}


_PROJECTED = msgspec.json.Decoder(list[Projected])
_RESOLVED = msgspec.json.Decoder(list[Resolved])


class Waiting(msgspec.Struct):
    """A row that is written but for references whose rows did not exist yet."""

    leg: Leg
    record: Projected
    row: Row
    columns: list[str]


async def project(context: Context, leg: Leg, ids: Collection[RowId]) -> list[Projected]:
    """(a) of a leg for these records of its source half."""
    if not ids:
        return []
    text = await context.transaction.value(leg.project, list(ids))
    return _PROJECTED.decode(text)


class Delivery:
    """Carries the records of one round into the destination app, leg by leg."""

    def __init__(self, exchange: Exchange, destination: App) -> None:
        self._exchange = exchange
        self._app = destination
        self._source = exchange.side(PARTNER[destination.half])
        self._target = exchange.side(destination.half)
        self._waiting: list[Waiting] = []
        self.half = destination.half
        self.wrote = False

    async def send(
        self, leg: Leg, projected: Sequence[Projected], touched: Mapping[RowId, Collection[str] | None]
    ) -> None:
        """Create or update the counterparts of records given as they are to arrive, each of them once.

        `touched` says which destination values of each are new, None for all of them. Records that don't pass the map's
        filter take no part. Rejected, naming the record, when a value has no counterpart or the partner refuses it.
        """
        records = [record for record in projected if record.passes]
        if not records:
            return
        for record in records:
            if record.faults:
                raise _no_counterpart(leg, record)
        await self._hold(leg, records)
        if leg.destination == self._exchange.replayed:
            touched = await give_way(self._exchange, leg, records, touched)
            records = [record for record in records if record.id in touched]
        else:
            await supersede(self._exchange, leg, records, touched)
        creates: list[tuple[Projected, Row]] = []
        updates: list[tuple[Projected, Row]] = []
        for found in await self.resolve(leg, records):
            record = records[found.ordinal]
            target = found.target
            if target is not None and (leg.destination, target) in self._exchange.gone:
                continue
            new = None if target is None else touched[record.id]
            row = Row(id=target, values=self.values(leg, record, found, new))
            if found.missing:
                self._waiting.append(Waiting(leg, record, row, found.missing))
            if target is None:
                creates.append((record, row))
            elif row.values:
                updates.append((record, row))
                self._exchange.pair(leg, record.id, target)
        await self._send(leg, Operation.CREATE, creates)
        for record, row in creates:
            assert row.id is not None, "the app gives every created row its id"
            self._exchange.pair(leg, record.id, row.id)
        await self._send(leg, Operation.UPDATE, updates)

    async def delete(self, leg: Leg, ids: Sequence[RowId]) -> None:
        """Delete the counterparts of deleted records, as far as they took part and have one."""
        known = self._exchange.deleted
        records = {key: known[key] for id_ in ids if (key := (leg.name, id_)) in known}
        await self.remove(leg, list(records.values()))
        for key in records:
            del known[key]

    async def remove(self, leg: Leg, records: Sequence[Projected]) -> None:
        """Delete the counterparts of records given as they were before they were deleted."""
        await self._hold(leg, records)
        await supersede(self._exchange, leg, records, None)
        found = await self.resolve(leg, records)
        rows = [(records[item.ordinal], Row(id=item.target)) for item in found if item.target is not None]
        await self._remember_for_others(leg, [item.target for item in found if item.target is not None])
        await self._send(leg, Operation.DELETE, rows)

    async def _remember_for_others(self, leg: Leg, targets: Sequence[RowId]) -> None:
        """What other table maps of the rows need to know of them, to carry their deletion on."""
        catalog = self._app.catalog
        is_finops = leg.destination == "finops"
        root = catalog.entity(leg.table_map.entity).root.table if is_finops else leg.table_map.table
        for other in self._exchange.legs.of_table(leg.destination, root):
            if other.root == root and other.name != leg.name:
                for record in await project(self._target, other, targets):
                    if record.passes and record.key is not None:
                        self._exchange.deleted[other.name, record.id] = record

    async def _hold(self, leg: Leg, records: Sequence[Projected]) -> None:
        """Lock the records against writers on either half; keep initial sync away from those it may still bring."""
        if not records:
            return
        await self._exchange.join(leg.name)
        keys = [record.key for record in records if record.key is not None]
        if leg.is_two_way:
            await self._exchange.lock((leg.name, key) for key in keys)
        await self._exchange.mark(leg.source, leg.name, keys)
        await self._exchange.mark(leg.destination, leg.name, keys)

    async def pair(self, leg: Leg, ids: Sequence[RowId]) -> None:
        """Remember which rows are the counterparts of these records by the keys that they have now."""
        await self.pair_records(leg, [record for record in await project(self._source, leg, ids) if record.passes])

    async def pair_records(self, leg: Leg, records: Sequence[Projected]) -> None:
        """Remember which rows are the counterparts of records given as they were."""
        if records:
            await self._exchange.begin()
        for found in await self.resolve(leg, records):
            if found.target is not None:
                self._exchange.pair(leg, records[found.ordinal].id, found.target)

    async def complete_lookups(self) -> None:
        """Set the references that had to wait for rows of the same batch. Rejected when a row is still not there."""
        by_leg: dict[str, list[Waiting]] = {}
        for waiting in self._waiting:
            by_leg.setdefault(waiting.leg.name, []).append(waiting)
        self._waiting = []
        for group in by_leg.values():
            leg = group[0].leg
            updates = []
            for found in await self.resolve(leg, [waiting.record for waiting in group]):
                waiting = group[found.ordinal]
                still = [column for column in waiting.columns if column in found.missing]
                if still:
                    raise await self._lookup_failed(leg, waiting.record, still[0])
                columns = self._lookup_columns(leg, found)
                values = {name: value for name, value in columns.items() if _belongs(name, waiting.columns)}
                updates.append((waiting.record, Row(id=waiting.row.id, values=values)))
            await self._send(leg, Operation.UPDATE, updates)

    async def _lookup_failed(self, leg: Leg, record: Projected, column: str) -> Rejected:
        parts = {path: value for path, value in record.values.items() if path.partition(".")[0].lower() == column}
        sought = ", ".join(f"{path} = {value}" for path, value in parts.items()) or f"company = {record.company}"
        held_back = await self._held_back(leg, column)
        return Rejected(
            f"Unable to write data to {leg.table_map.table}. Unable to lookup {column} with values {{{sought}}}: no "
            f"such row exists in {HALF_NAMES[leg.destination]}. Table map '{leg.name}', record {_shown(record)}. "
            f"{held_back}Nothing was saved.",
            code="lookup_not_found",
            table_map=leg.name,
            key=_shown(record),
            records=named_records(leg, [record]),
            field=column,
            half=leg.destination,
        )

    def parent_held_back(self, leg: Leg, parent: Leg, records: Sequence[Projected]) -> Rejected:
        """The refusal of records that name rows which another table map has to carry first, and doesn't now."""
        named = sorted({name for record in records for name in record.unkeyed or ()})
        state = self._exchange.states[parent.name].replace("_", " ")
        keys = "; ".join(_shown(record) for record in records[:3])
        return Rejected(
            f"Table map '{leg.name}', record {keys}: {', '.join(named)} names a row of {parent.table_map.table} "
            f"without a key, for its table map '{parent.name}' is {state}. Resume that first. Nothing was saved.",
            code="lookup_not_found",
            table_map=leg.name,
            key=keys,
            records=named_records(leg, records),
            field=named[0],
            half=leg.source,
        )

    async def _held_back(self, leg: Leg, column: str) -> str:
        """A sentence for each table map of the rows looked for that is not running, or whose changes wait."""
        catalog = self._exchange.legs.catalog
        lookup = catalog.table(leg.table_map.table).column[column]
        names = [table_map.name for target in lookup.targets for table_map in catalog.maps_of_table.get(target, ())]
        origin = self._exchange.origin
        entered = await enter(origin.transaction, names)
        return "".join(
            f"The row may be held back: table map '{name}' is {entered.state(name).replace('_', ' ')}"
            f"{', with changes that wait in its queue' if name in entered.queued else ''}. "
            for name in names
            if name in entered.states or name in entered.queued
        )

    async def resolve(self, leg: Leg, records: Sequence[Projected]) -> list[Resolved]:
        """(b) of a leg."""
        if not records:
            return []
        rows = [
            {
                **{name: record.values.get(name) for name in leg.resolved},
                "ordinal": ordinal,
                "target": self._exchange.paired(leg, record.id),
                "company": record.company,
            }
            for ordinal, record in enumerate(records)
        ]
        text = await self._target.transaction.value(leg.resolve, msgspec.json.encode(rows).decode())
        return _RESOLVED.decode(text)

    def values(self, leg: Leg, record: Projected, found: Resolved, names: Collection[str] | None) -> dict[str, Any]:
        """What the destination row gets: all values on create, else those that are new (`names`)."""
        catalog = self._app.catalog
        if leg.destination == "finops":
            entity = catalog.entity(leg.table_map.entity)
            values = {name: value for name, value in record.values.items() if names is None or name in names}
            if names is None and entity.company_specific:
                values["dataareaid"] = record.company
            return field_values(entity, values)
        columns: dict[str, Any] = {}
        heads: set[str] = set()
        for text, value in record.values.items():
            if names is None or text in names:
                path = leg.paths[text]
                heads.add(path.head.name)
                if not path.is_lookup:
                    columns[path.head.name] = column_value(path.head, value)
        for name, value in self._lookup_columns(leg, found).items():
            if (names is None or _belongs(name, heads)) and not _belongs(name, found.missing):
                columns[name] = value
        if found.target is None and leg.table_map.owning_team:
            columns["ownerid"] = UUID(leg.table_map.owning_team)
        return columns

    def _lookup_columns(self, leg: Leg, found: Resolved) -> dict[str, Any]:
        """Ids behind lookups, and the tables that polymorphic ones point at; none towards F&O, which has no lookups."""
        table = self._app.catalog.table(leg.table_map.table)
        return {
            name: column_value(table.column[name], value) if name in table.column else value
            for name, value in found.columns.items()
        }

    async def _send(self, leg: Leg, operation: Operation, rows: Sequence[tuple[Projected, Row]]) -> None:
        if not rows:
            return
        name = leg.table_map.table if leg.destination == "dataverse" else leg.table_map.entity
        message = Message(operation=operation, table=name, rows=[row for _, row in rows], through=leg.name)
        before = len(self._target.changes)
        try:
            await self._app.execute(self._target, message)
        except Unavailable:
            raise  # who is away refuses nothing
        except IsthmusError as error:
            raise _refused(leg, rows, error) from error
        self.wrote = self.wrote or len(self._target.changes) > before


def _belongs(column: str, heads: Collection[str]) -> bool:
    """Whether a physical column is one of the lookups, or the type column of one."""
    return column in heads or (column.endswith("type") and column.removesuffix("type") in heads)


def _shown(record: Projected) -> str:
    return shown_key(record.key) or str(record.id)


def named_records(leg: Leg, records: Sequence[Projected]) -> list[dict[str, Any]]:
    """Which records an error is about, as the activity log keeps them."""
    return [
        {
            "half": leg.source,
            "id": str(record.id),
            "key": shown_key(record.key),
            "company": record.company,
        }
        for record in records
    ]


def _no_counterpart(leg: Leg, record: Projected) -> Rejected:
    found = no_counterpart(leg.table_map, record.faults[0])
    return Rejected(
        f"Table map '{leg.name}', record {_shown(record)}: {found.sentence} Nothing was saved.",
        code=found.code,
        table_map=leg.name,
        key=_shown(record),
        records=named_records(leg, [record]),
        field=found.field,
        value=found.value,
        half=leg.source,
    )


def _refused(leg: Leg, rows: Sequence[tuple[Projected, Row]], error: IsthmusError) -> IsthmusError:
    """The partner's refusal, told to the caller in the partner's words with map and record added."""
    keys = "; ".join(_shown(record) for record, _ in rows[:3]) + ("; ..." if len(rows) > 3 else "")
    records = named_records(leg, [record for record, _ in rows])
    details = {"half": leg.destination, "table_map": leg.name, "key": keys, "records": records, **error.details}
    return type(error)(
        f"{error.message} (Refused by {HALF_NAMES[leg.destination]}; table map '{leg.name}', record {keys}. "
        "Nothing was saved on either half.)",
        code=error.code,
        **details,
    )
