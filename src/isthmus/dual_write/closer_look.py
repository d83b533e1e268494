"""A closer look at records whose checksums differ: what each half shows of them, field mapping by field mapping.

Both halves are in use meanwhile, and a save reaches one a moment before the other. So a difference counts when two
looks, some time apart, show the same one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal
from uuid import UUID

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.comparison import FAULT, Compared, Comparison
from isthmus.dual_write.leg import PARTNER, Leg, Projected, Resolved
from isthmus.dual_write.shown_key import shown_key
from isthmus.store.pool import Pool

RowId = int | UUID
Kind = Literal["missing_in_finops", "missing_in_dataverse", "different", "duplicate"]
MISSING: dict[Half, Kind] = {"finops": "missing_in_finops", "dataverse": "missing_in_dataverse"}

PAUSES = (0.05, 0.2, 0.5, 1.0)
"""Seconds between looks at a record that goes on changing; then it counts as unsettled."""

_PROJECTED = msgspec.json.Decoder(list[Projected])
_RESOLVED = msgspec.json.Decoder(list[Resolved])


class Candidate(msgspec.Struct, frozen=True):
    """A record that may differ, by its id on the half `origin`, from which the map carries it."""

    origin: Half
    id: RowId
    key: str | None


class DifferentValue(msgspec.Struct, frozen=True, kw_only=True):
    """Two values that a field mapping says are one, as texts.

    `finops` and `dataverse` are what stands; `for_dataverse` and `for_finops` what each would become on the other half,
    None where the field mapping does not go that way. `fault` names a value without counterpart.
    """

    field: str | None
    column: str | None
    arrow: str
    finops: str | None
    dataverse: str | None
    for_dataverse: str | None = None
    for_finops: str | None = None
    fault: str | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A record that one half lacks, that the halves hold differently, or whose key several records of a half have.

    `key` is its integration key, part by part, None where a part has no value.
    """

    table_map: str
    kind: Kind
    key: str | None
    company: str | None
    finops_id: int | None
    dataverse_id: UUID | None
    values: tuple[DifferentValue, ...] = ()


class _Shown(msgspec.Struct, frozen=True):
    company: str | None
    passes: bool
    forward: list[str | None]
    backward: list[str | None]


class CloserLook:
    """Looks at single records of one table map on both halves, and decides whether they differ."""

    def __init__(self, pools: dict[Half, Pool], comparison: Comparison, legs: dict[Half, Leg]) -> None:
        self._pools = pools
        self._comparison = comparison
        self._legs = legs

    async def settle(self, candidates: Collection[Candidate]) -> tuple[dict[Candidate, Difference], int]:
        """The differences that two looks agree about, and how many records never stood still for two."""
        found: dict[Candidate, Difference] = {}
        waiting = await self.look(candidates)
        for pause in PAUSES:
            if not waiting:
                break
            await asyncio.sleep(pause)
            again = await self.look(waiting)
            found.update({c: difference for c, difference in again.items() if difference == waiting[c]})
            waiting = {c: difference for c, difference in again.items() if difference != waiting[c]}
        return found, len(waiting)

    async def look(self, candidates: Iterable[Candidate]) -> dict[Candidate, Difference]:
        """One look: those of the candidates that differ now."""
        found: dict[Candidate, Difference] = {}
        for origin in self._legs:
            of_origin = {candidate.id: candidate for candidate in candidates if candidate.origin == origin}
            for id_, difference in (await self._look_from(origin, list(of_origin))).items():
                found[of_origin[id_]] = difference
        return found

    async def _look_from(self, origin: Half, ids: list[RowId]) -> dict[RowId, Difference]:
        if not ids:
            return {}
        leg, partner = self._legs[origin], PARTNER[origin]
        records = [record for record in await self._project(leg, ids) if record.passes]
        targets = await self._targets(leg, records)
        here = await self._shown(origin, [record.id for record in records])
        there = await self._shown(partner, [target for target in targets.values() if target is not None])
        found: dict[RowId, Difference] = {}
        for record in records:
            target = targets.get(record.id)
            mine, theirs = here.get(record.id), None if target is None else there.get(target)
            if mine is None:
                continue
            if theirs is None:
                found[record.id] = self._difference(MISSING[partner], record, origin, None)
                continue
            sides = (mine, theirs) if origin == "finops" else (theirs, mine)
            values = tuple(self._different_values(*sides))
            if values:
                found[record.id] = self._difference("different", record, origin, target, values)
        return found

    def _difference(
        self,
        kind: Kind,
        record: Projected,
        origin: Half,
        target: RowId | None,
        values: tuple[DifferentValue, ...] = (),
    ) -> Difference:
        finops, dataverse = (record.id, target) if origin == "finops" else (target, record.id)
        return Difference(
            table_map=self._comparison.table_map.name,
            kind=kind,
            key=shown_key(record.key),
            company=record.company,
            finops_id=finops if isinstance(finops, int) else None,
            dataverse_id=dataverse if isinstance(dataverse, UUID) else None,
            values=values,
        )

    async def _project(self, leg: Leg, ids: Sequence[RowId]) -> list[Projected]:
        rows = await self._pools[leg.source].fetch(leg.project, ids)
        return [msgspec.structs.replace(record, id=_id(record.id)) for record in _PROJECTED.decode(rows[0][0])]

    async def _targets(self, leg: Leg, records: Sequence[Projected]) -> dict[RowId, RowId | None]:
        if not records:
            return {}
        rows = [
            {
                **{name: record.values.get(name) for name in leg.resolved},
                "ordinal": ordinal,
                "target": None,
                "company": record.company,
            }
            for ordinal, record in enumerate(records)
        ]
        found = await self._pools[leg.destination].fetch(leg.resolve, msgspec.json.encode(rows).decode())
        return {records[resolved.ordinal].id: resolved.target for resolved in _RESOLVED.decode(found[0][0])}

    async def _shown(self, half: Half, ids: Sequence[RowId]) -> dict[RowId, _Shown]:
        rows = await self._pools[half].fetch(self._comparison.sides[half].details, ids) if ids else []
        return {row["id"]: _Shown(row["company"], row["passes"], row["forward"], row["backward"]) for row in rows}

    def _different_values(self, finops: _Shown, dataverse: _Shown) -> Iterable[DifferentValue]:
        for number, one in enumerate(self._comparison.compared):
            directions = []
            if one.sends_forward and finops.passes:
                directions.append((finops.forward[number], dataverse.forward[number]))
            if one.sends_backward and dataverse.passes:
                directions.append((dataverse.backward[number], finops.backward[number]))
            if directions and not any(_same(sent, stands, one.by_name) for sent, stands in directions):
                yield _different(one, number, finops, dataverse)


def _different(one: Compared, number: int, finops: _Shown, dataverse: _Shown) -> DifferentValue:
    sent = [finops.forward[number] if one.forward else None, dataverse.backward[number] if one.backward else None]
    faults = [text.removeprefix(FAULT) for text in sent if text is not None and text.startswith(FAULT)]
    for_dataverse, for_finops = (None if text is None or text.startswith(FAULT) else text for text in sent)
    return DifferentValue(
        field=one.field.name if one.field else None,
        column=one.path.text if one.path else None,
        arrow=one.mapping.arrow,
        finops=finops.backward[number],
        dataverse=dataverse.forward[number],
        for_dataverse=for_dataverse,
        for_finops=for_finops,
        fault=faults[0] if faults else None,
    )


def _same(sent: str | None, stands: str | None, by_name: bool) -> bool:
    """Whether a value arrived; text without a value is none, and text that names a row is the same in either case."""
    if by_name:
        return (sent or "").lower() == (stands or "").lower()
    return (sent or "") == (stands or "")


def _id(value: Any) -> RowId:
    return value if isinstance(value, int | UUID) else UUID(value)
