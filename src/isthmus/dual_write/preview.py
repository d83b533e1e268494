"""Preview: what one real record would become on the other half under a table map, saved or not, and what stands there.

It runs the same legs as live sync, in transactions that can only read.
"""

from __future__ import annotations

import re
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.comparison import FAULT, Compared, Comparison
from isthmus.dual_write.leg import Leg, Projected, Resolved
from isthmus.dual_write.leg_comparison import compile_comparison
from isthmus.dual_write.leg_to_dataverse import compile_to_dataverse
from isthmus.dual_write.leg_to_finops import compile_to_finops
from isthmus.dual_write.validation import refuse_faults, validate
from isthmus.errors import NotFound, Rejected
from isthmus.finops.data_sources import Compiled
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap
from isthmus.store.pool import Pool
from isthmus.store.snapshot import snapshot

_COMPILE = {"finops": compile_to_dataverse, "dataverse": compile_to_finops}
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_PROJECTED = msgspec.json.Decoder(list[Projected])
_RESOLVED = msgspec.json.Decoder(list[Resolved])

Outcome = Literal["create", "update", "unchanged", "left_out", "refused"]
"""What a save that sends the whole record would do on the other half."""


class PreviewValue(msgspec.Struct, frozen=True, kw_only=True):
    """One field mapping; values are texts, None where there is none.

    `row` is its number. `given` is what the source holds (None for a constant, or one that an expression works out),
    `becomes` what it becomes, `stands` what the other half holds now. `fault` names a value without counterpart.
    `finds_nothing`: the value names a row that is not there.
    """

    row: int
    source: str | None
    destination: str
    given: str | None
    becomes: str | None
    stands: str | None
    differs: bool
    fault: str | None = None
    finds_nothing: bool = False


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of one record of the half `source`.

    `key` is its integration key, parts separated by commas; `target` the id of its counterpart, None when there is
    none. `why` says, where the record is left out or refused, for what reason.
    """

    table_map: str
    version: str
    source: Half
    id: int | UUID
    company: str | None
    key: str | None
    outcome: Outcome
    why: str | None
    target: int | UUID | None
    values: tuple[PreviewValue, ...]


class _Shown(msgspec.Struct, frozen=True):
    forward: list[str | None]
    backward: list[str | None]


class Previewer:
    """Previews records of the two halves of one environment."""

    def __init__(self, dataverse: Pool, finops: Pool, catalog: Catalog) -> None:
        self._pools: dict[Half, Pool] = {"dataverse": dataverse, "finops": finops}
        self._catalog = catalog

    async def preview(self, table_map: TableMap, source: Half, record: int | UUID | str) -> Preview:
        """What a record would become; `record` is its id, or its integration key as text with commas.

        NotFound when there is no such record. Rejected: `table_map_invalid`; `direction_not_mapped` when the table map
        carries nothing away from this half.
        """
        refuse_faults(table_map, validate(table_map, self._catalog).faults)
        leg = self._leg(table_map, source)
        sources = Compiled(self._catalog)[table_map.entity]
        comparison = compile_comparison(table_map, self._catalog, sources, source)
        async with snapshot(self._pools[source]) as here, snapshot(self._pools[leg.destination]) as there:
            record_id = await _find(here, leg, record)
            projected = await _project(here, leg, record_id)
            resolved = await _resolve(there, leg, projected)
            ours = await _shown(here, comparison, source, record_id)
            theirs = await _shown(there, comparison, leg.destination, resolved.target)
        assert ours is not None, "a record that was projected is shown"
        values = tuple(
            _value(number, one, source, ours, theirs, resolved)
            for number, one in enumerate(comparison.compared)
            if (one.forward if source == "finops" else one.backward)
        )
        outcome, why = _outcome(leg, projected, resolved, values)
        return Preview(
            table_map=table_map.name,
            version=table_map.version,
            source=source,
            id=projected.id,
            company=projected.company,
            key=None if projected.key is None else projected.key.replace("\x1f", ", "),
            outcome=outcome,
            why=why,
            target=resolved.target,
            values=values,
        )

    def _leg(self, table_map: TableMap, source: Half) -> Leg:
        carries = any(
            (row.to_dataverse and row.dataverse) if source == "finops" else (row.to_finops and row.finops)
            for row in table_map.rows
        )
        if not carries:
            raise Rejected(
                f"Table map '{table_map.name}' carries nothing away from the {source} half; preview the other way.",
                code="direction_not_mapped",
                table_map=table_map.name,
            )
        return _COMPILE[source](table_map, self._catalog, Compiled(self._catalog)[table_map.entity])


async def _find(connection: asyncpg.Connection, leg: Leg, record: int | UUID | str) -> int | UUID:
    """The id of the record. A text is its id, if it can be one on this half, else its integration key."""
    given = named_record(leg.source, record)
    if not isinstance(given, str):
        if isinstance(given, int) != (leg.source == "finops"):
            raise _no_record(leg, record)
        return given
    rows = await connection.fetch(leg.ids_of_key, given)
    if not rows:
        raise _no_record(leg, record)
    found: int | UUID = rows[0]["id"]
    return found


def named_record(half: Half, record: int | UUID | str) -> int | UUID | str:
    """The id that a text stands for, or else the integration key that it is, as legs write it.

    Ids are GUIDs on the Dataverse half. On the other one they are RecIds, which are longer than numbers in keys.
    """
    if not isinstance(record, str):
        return record
    if half == "finops" and record.isascii() and record.isdigit() and 9 < len(record) < 19:
        return int(record)
    if half == "dataverse" and _GUID.fullmatch(record):
        return UUID(record)
    return canonical_key(record)


def canonical_key(text: str) -> str:
    """The integration key that people write with commas between its parts, as legs write it."""
    return "\x1f".join(part.strip() for part in text.lower().split(","))


async def _project(connection: asyncpg.Connection, leg: Leg, record_id: int | UUID) -> Projected:
    records = _PROJECTED.decode(await connection.fetchval(leg.project, [record_id]))
    if not records:
        raise _no_record(leg, record_id)
    return records[0]


async def _resolve(connection: asyncpg.Connection, leg: Leg, record: Projected) -> Resolved:
    row = {
        **{name: record.values.get(name) for name in leg.resolved},
        "ordinal": 0,
        "target": None,
        "company": record.company,
    }
    (found,) = _RESOLVED.decode(await connection.fetchval(leg.resolve, msgspec.json.encode([row]).decode()))
    return found


async def _shown(
    connection: asyncpg.Connection, comparison: Comparison, half: Half, record_id: int | UUID | None
) -> _Shown | None:
    if record_id is None:
        return None
    row = await connection.fetchrow(comparison.sides[half].details, [record_id])
    return None if row is None else _Shown(row["forward"], row["backward"])


def _value(
    number: int, one: Compared, source: Half, ours: _Shown, theirs: _Shown | None, resolved: Resolved
) -> PreviewValue:
    """Forward texts are values as Dataverse holds them, backward ones as F&O does."""
    mapping, towards_dataverse = one.mapping, source == "finops"
    given = (ours.backward if towards_dataverse else ours.forward)[number]
    becomes = (ours.forward if towards_dataverse else ours.backward)[number]
    stands = None if theirs is None else (theirs.forward if towards_dataverse else theirs.backward)[number]
    fault = None
    if becomes is not None and becomes.startswith(FAULT):
        fault = becomes.removeprefix(FAULT)
        becomes = None
    same = (becomes or "").lower() == (stands or "").lower() if one.by_name else becomes == stands
    head = one.path.head.name if one.path is not None else None
    return PreviewValue(
        row=mapping.row,
        source=mapping.finops if towards_dataverse else mapping.dataverse,
        destination=(mapping.dataverse if towards_dataverse else mapping.finops) or "",
        given=given,
        becomes=becomes,
        stands=stands,
        differs=fault is not None or not same,
        fault=fault,
        finds_nothing=towards_dataverse and head in resolved.missing,
    )


def _outcome(
    leg: Leg, record: Projected, resolved: Resolved, values: tuple[PreviewValue, ...]
) -> tuple[Outcome, str | None]:
    if not record.passes:
        text = leg.table_map.finops_filter if leg.source == "finops" else leg.table_map.dataverse_filter
        return "left_out", f"It does not pass the filter {text}." if text else "It belongs to no company."
    if record.faults:
        return "refused", f"There is no counterpart for {', '.join(record.faults)}."
    if resolved.missing:
        return "refused", f"There is no row for {', '.join(resolved.missing)}; send it first."
    if resolved.target is None:
        return "create", None
    return ("update" if any(value.differs for value in values) else "unchanged"), None


def _no_record(leg: Leg, record: Any) -> NotFound:
    where = leg.table_map.entity if leg.source == "finops" else leg.table_map.table
    return NotFound(
        f"There is no record {record} of {where} on the {leg.source} half. Give its id, or the parts of its "
        "integration key with commas between them.",
        code="record_not_found",
        table_map=leg.name,
        half=leg.source,
    )
