"""Why a change of one record does or doesn't flow: every condition on its way, in the order in which it meets them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from isthmus.apps.port import App
from isthmus.apps.principal import Half
from isthmus.dual_write.activity import ERROR_KINDS, ActivityFilter, ActivityLog
from isthmus.dual_write.closer_look import Candidate, CloserLook
from isthmus.dual_write.companies import company_codes
from isthmus.dual_write.delivery import HALF_NAMES
from isthmus.dual_write.dependencies import check_known
from isthmus.dual_write.exchange import RowId
from isthmus.dual_write.filter_tester import Explained, FilterTester
from isthmus.dual_write.findings import HALVES_FIRST
from isthmus.dual_write.leg import PARTNER, Leg, Projected, Resolved
from isthmus.dual_write.leg_comparison import compile_comparison
from isthmus.dual_write.legs import CurrentLegs, Legs
from isthmus.dual_write.map_state import MapStates
from isthmus.dual_write.queue import Queue
from isthmus.dual_write.refused_records import RefusedRecords
from isthmus.dual_write.schema_drift import Drift
from isthmus.dual_write.schema_watch import SCHEMA
from isthmus.dual_write.shown_key import shown_key
from isthmus.dual_write.table_map_health import schema_has_changed
from isthmus.dual_write.versions import drifts_of_chosen
from isthmus.errors import NotFound
from isthmus.finops.data_sources import Compiled, fixed_conditions
from isthmus.store.pool import fetch

_PROJECTED = msgspec.json.Decoder(list[Projected])
_RESOLVED = msgspec.json.Decoder(list[Resolved])


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One condition on the way: it holds (`ok`), it keeps the record from flowing (`stops`), or is worth knowing."""

    name: str
    outcome: Literal["ok", "stops", "note"]
    message: str
    advice: str | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a change of this record. `flows`: nothing keeps it; `summary` says so in one sentence."""

    table_map: str
    half: Half
    record_id: str | None
    record_key: str | None
    company: str | None
    flows: bool
    summary: str
    conditions: list[Condition]


class Why:
    """Explains single records of table maps; reads only."""

    def __init__(
        self,
        apps: Mapping[Half, App],
        pools: Mapping[Half, asyncpg.Pool],
        legs: CurrentLegs,
        states: MapStates,
        activity: ActivityLog,
    ) -> None:
        self._apps = apps
        self._legs = legs
        self._states = states
        self._activity = activity
        self._queue = Queue(pools)
        self._refused = RefusedRecords(pools)

    async def explain(self, table_map: str, half: Half, record: str) -> Explanation:
        """Explain a record of `half`, given by its id (RecId or GUID) or by its integration key as messages show it,
        the parts separated by `, `.

        NotFound: `table_map_not_found`, or `record_not_found` when the half has nothing of this id or key.
        """
        legs = await self._legs.refresh()
        drifts = (await drifts_of_chosen(self._apps["dataverse"].pool, legs.catalog)).get(table_map, [])
        if table_map not in legs.catalog.table_maps and drifts:
            return _explanation(table_map, half, None, record, _changed_schema(table_map, drifts))
        check_known([table_map], legs.catalog)
        leg = legs.by_map.get((table_map, half))
        if leg is None:
            stop = Condition(
                name="direction",
                outcome="stops",
                message=f"The table map carries nothing away from {HALF_NAMES[half]}.",
                advice="If it should, give field mappings a direction that does.",
            )
            return _explanation(table_map, half, None, record, [stop])
        found = await self._find(legs, leg, record)
        if isinstance(found, Condition):
            return _explanation(table_map, half, None, record, [found])
        conditions = _changed_schema(table_map, drifts)
        conditions += [condition async for condition in self._conditions(legs, leg, found)]
        return _explanation(table_map, half, found, shown_key(found.key), conditions)

    async def _find(self, legs: Legs, leg: Leg, record: str) -> Projected | Condition:
        """The record, or what hides it."""
        id_ = _as_id(leg.source, record)
        if id_ is not None:
            found = await self._project(leg, id_)
            hidden = None if found else await self._hidden(legs, leg, id_)
            if found or hidden:
                return found or hidden  # type: ignore[return-value]  # one of them is there
        rows = await fetch(self._pool(leg.source), leg.ids_of_key, record.lower().replace(", ", "\x1f"))
        found = await self._project(leg, rows[0]["id"]) if rows else None
        if found is None:
            raise NotFound(
                f"{HALVES_FIRST[leg.source]} has no record '{record}' of table map '{leg.name}'. Give its "
                "id, or its integration key as messages show it, such as 'c1, usmf'.",
                code="record_not_found",
                table_map=leg.name,
            )
        return found

    async def _hidden(self, legs: Legs, leg: Leg, id_: RowId) -> Condition | None:
        """Why a row of the root table is no record of the entity; None when there is no such row."""
        if leg.source == "dataverse":
            return None
        sources = Compiled(legs.catalog)[leg.table_map.entity]
        root, pool = sources.root, self._pool("finops")
        row = f"from {root.sql_name} {root.alias}"
        where = f"where {root.alias}.recid = $1"
        if not await fetch(pool, f"select {row} {where}", id_):
            return None
        ranges = "".join(f" and {condition}" for condition in fixed_conditions(root, root.alias))
        if not await fetch(pool, f"select {row} {where}{ranges}", id_):
            values = " and ".join(f"{name} = {value}" for name, value in root.fixed.items())
            why = f"{sources.entity.aot_name} shows rows with {values} only"
        else:
            inner = [name for name, source in sources.sources.items() if source.parent and not source.definition.outer]
            missing = [
                name
                for name in inner
                if not await fetch(pool, f"select {row}{sources.joins(root.name, [name])} {where}", id_)
            ]
            why = f"no row of data source {', '.join(missing[:1])} belongs to it"
        return Condition(
            name="record",
            outcome="stops",
            message=f"Row {id_} of {root.table.name} is there, but is no record of the entity: {why}.",
            advice="Correct the row, if it should be one.",
        )

    async def _conditions(self, legs: Legs, leg: Leg, record: Projected) -> AsyncIterator[Condition]:
        yield await self._state(leg)
        company = await self._company(legs, leg, record)
        if company is not None:
            yield company
        yield await self._filter(legs, leg, record)
        yield _key(record)
        for fault in record.faults:
            field, _, value = fault.partition("=")
            yield Condition(
                name="value",
                outcome="stops",
                message=f"'{value}' of {field} has no counterpart.",
                advice="Add an entry to the value map, or use a value that it knows.",
            )
        resolved = await self._resolve(leg, record)
        company_column = legs.catalog.table(leg.table_map.table).company_column
        for column in (column for column in resolved.missing if column != company_column):
            parts = {path: value for path, value in record.values.items() if path.partition(".")[0].lower() == column}
            sought = ", ".join(f"{path} = {value}" for path, value in parts.items()) or "its company"
            yield Condition(
                name="lookup",
                outcome="stops",
                message=f"Lookup {column} finds no row in {HALF_NAMES[leg.destination]} with {sought}.",
                advice="Bring that row over first: run its table map, or save it once more.",
            )
        yield await self._counterpart(legs, leg, record, resolved.target)
        async for condition in self._backlog(leg, record):
            yield condition

    async def _state(self, leg: Leg) -> Condition:
        state = (await self._states.read([leg.name], leg.source))[leg.name]
        if state.state in ("running", "initializing"):
            return Condition(name="state", outcome="ok", message=f"The table map is {state.state}.")
        if state.state == "not_running":
            return Condition(
                name="state", outcome="stops", message="The table map is not running.", advice="Run the table map."
            )
        return Condition(
            name="state",
            outcome="stops",
            message=f"The table map is {state.state} ({state.reason or 'manual'}): changes wait in the queue.",
            advice="Make it fit its schema again." if state.reason == SCHEMA else "Resume the table map.",
        )

    async def _company(self, legs: Legs, leg: Leg, record: Projected) -> Condition | None:
        """None for records that have no company."""
        table = legs.catalog.table(leg.table_map.table)
        if table.company_column is None:
            return None
        if record.company is None:
            return Condition(
                name="company",
                outcome="stops",
                message=f"The row has no company ({table.company_column}); only rows with one take part.",
                advice="Set its company.",
            )
        known = await company_codes(leg.destination, self._pool(leg.destination))
        if record.company.lower() not in known:
            return Condition(
                name="company",
                outcome="stops",
                message=f"{HALVES_FIRST[leg.destination]} has no company '{record.company}'.",
                advice="Make it there, by the table map of companies.",
            )
        return Condition(name="company", outcome="ok", message=f"Both halves have the company '{record.company}'.")

    async def _filter(self, legs: Legs, leg: Leg, record: Projected) -> Condition:
        table_map = leg.table_map
        text = table_map.finops_filter if leg.source == "finops" else table_map.dataverse_filter
        if record.passes or not text:
            passed = f"It passes the filter {text}." if text else "The table map has no filter on this half."
            return Condition(name="filter", outcome="ok", message=passed)
        tester = FilterTester(self._apps["dataverse"].pool, self._apps["finops"].pool, legs.catalog)
        explained = await tester.explain(table_map, leg.source, record.id)
        return Condition(
            name="filter",
            outcome="stops",
            message=f"It does not pass the filter {text}: {'; '.join(_failing(explained))}.",
            advice="Change the record, if it should pass.",
        )

    async def _counterpart(self, legs: Legs, leg: Leg, record: Projected, target: RowId | None) -> Condition:
        there = HALF_NAMES[leg.destination]
        if target is None:
            message = f"It has no counterpart in {there} yet: the next change creates one."
            return Condition(name="counterpart", outcome="note", message=message)
        sources = Compiled(legs.catalog)[leg.table_map.entity]
        comparison = compile_comparison(leg.table_map, legs.catalog, sources)
        look = CloserLook({half: app.pool for half, app in self._apps.items()}, comparison, {leg.source: leg})
        differences = await look.look([Candidate(leg.source, record.id, record.key)])
        values = [value for difference in differences.values() for value in difference.values]
        if not values:
            message = f"Its counterpart in {there} is {target}, and equal."
            return Condition(name="counterpart", outcome="ok", message=message)
        shown = "; ".join(
            f"{v.field or v.column} '{v.finops}' in F&O, '{v.dataverse}' in Dataverse" for v in values[:5]
        )
        return Condition(
            name="counterpart",
            outcome="note",
            message=f"Its counterpart in {there} is {target}, and differs in {len(values)} value(s): {shown}.",
            advice="Compare the table map and repair the record from the half that is right.",
        )

    async def _backlog(self, leg: Leg, record: Projected) -> AsyncIterator[Condition]:
        """What waits or was refused of this record already."""
        if record.key is None:
            return
        queued = await self._queue.list(leg.source, leg.name, key=record.key)
        failed = [change for change in queued if change.status == "failed"]
        if failed:
            yield Condition(
                name="queue",
                outcome="stops",
                message=f"A queued change of it was refused: {failed[0].message} {len(queued) - 1} more wait.",
                advice="Correct what is refused and retry it, or dismiss it.",
            )
        elif queued:
            message = f"{len(queued)} change(s) of it wait in the queue; this one follows them."
            yield Condition(name="queue", outcome="note", message=message)
        for refusal in await self._refused.list(leg.destination, table_map=leg.name, key=record.key, limit=1):
            yield Condition(
                name="initial_sync", outcome="note", message=f"An initial sync refused it: {refusal.message}"
            )
        recent = ActivityFilter(table_map=leg.name, kinds=ERROR_KINDS, key=record.key, open_only=True)
        for entry in await self._activity.entries(recent, limit=1):
            when = f"{entry.at:%Y-%m-%d %H:%M:%S} UTC"
            yield Condition(name="last_error", outcome="note", message=f"Last error, {when}: {entry.message}")

    async def _project(self, leg: Leg, id_: RowId) -> Projected | None:
        rows = await fetch(self._pool(leg.source), leg.project, [id_])
        return next(iter(_PROJECTED.decode(rows[0][0])), None)

    async def _resolve(self, leg: Leg, record: Projected) -> Resolved:
        values = {name: record.values.get(name) for name in leg.resolved}
        row = {**values, "ordinal": 0, "target": None, "company": record.company}
        rows = await fetch(self._pool(leg.destination), leg.resolve, msgspec.json.encode([row]).decode())
        return _RESOLVED.decode(rows[0][0])[0]

    def _pool(self, half: Half) -> asyncpg.Pool:
        return self._apps[half].pool.origin


def _failing(explained: Explained) -> list[str]:
    """The smallest conditions that do not hold, each with what the record holds instead."""
    if explained.holds:
        return []
    inner = [text for part in explained.parts for text in _failing(part)]
    if inner:
        return inner
    held = [f"{field} is {'null' if value is None else repr(value)}" for field, value in explained.values.items()]
    return [f"{explained.text}, but {' and '.join(held)}" if held else explained.text]


def _changed_schema(table_map: str, drifts: Sequence[Drift]) -> list[Condition]:
    """In what the chosen version no longer fits. What was added to the schema keeps nothing from flowing by itself."""
    return [
        Condition(
            name="schema",
            outcome="note" if drift.kind == "added" else "stops",
            message=finding.message,
            advice=finding.advice,
        )
        for drift, finding in zip(drifts, schema_has_changed(table_map, drifts), strict=True)
    ]


def _key(record: Projected) -> Condition:
    if record.key is None:
        return Condition(
            name="key",
            outcome="note",
            message="A part of its integration key has no value, so no counterpart can be found by it.",
            advice="Fill it, unless the other half gives it a number.",
        )
    return Condition(name="key", outcome="ok", message=f"Its integration key is '{shown_key(record.key)}'.")


def _as_id(half: Half, record: str) -> RowId | None:
    try:
        return int(record) if half == "finops" else UUID(record)
    except ValueError:
        return None


def _explanation(
    table_map: str, half: Half, record: Projected | None, key: str | None, conditions: list[Condition]
) -> Explanation:
    stops = next((condition for condition in conditions if condition.outcome == "stops"), None)
    if stops is None:
        summary = f"Nothing keeps changes of this record from flowing to {HALF_NAMES[PARTNER[half]]}."
    else:
        summary = f"Changes of this record don't flow: {stops.message}"
    return Explanation(
        table_map=table_map,
        half=half,
        record_id=None if record is None else str(record.id),
        record_key=key,
        company=None if record is None else record.company,
        flows=stops is None,
        summary=summary,
        conditions=conditions,
    )
