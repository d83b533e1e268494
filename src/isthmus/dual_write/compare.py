"""Compare: which records of a table map one half lacks, and which both hold but differently, while both are in use.

Values are compared as the map sees them, each in a direction that its field mapping goes in. A record takes part when
it passes the filter of a half that the map carries it away from. Rows that only the end of a one-way map has are
counted as unmatched, for the map says nothing about them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from uuid import UUID

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.closer_look import Candidate, CloserLook, Difference
from isthmus.dual_write.companies import check_companies
from isthmus.dual_write.comparison import Comparison
from isthmus.dual_write.dependencies import check_known
from isthmus.dual_write.leg import PARTNER, Leg
from isthmus.dual_write.leg_comparison import compile_comparison
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.shown_key import shown_key
from isthmus.dual_write.side_by_side import HALVES, Beside, Seen, SideBySide
from isthmus.finops.data_sources import Compiled
from isthmus.store.pool import Pool

BATCH = 500
"""Records that are looked at together."""

LIMIT = 1000
"""Differences that a report lists unless asked for more; it counts all."""


class Report(msgspec.Struct, kw_only=True):
    """What comparing a table map found.

    `records` are those that take part, by half. `unmatched` are rows without counterpart at the end of a one-way map,
    `unsettled` records that changed too often to be compared. `differences` are the first ones, by integration key.
    """

    table_map: str
    companies: list[str] | None
    records: dict[Half, int] = {}
    equal: int = 0
    missing_in_finops: int = 0
    missing_in_dataverse: int = 0
    different: int = 0
    duplicate: int = 0
    unmatched: int = 0
    unsettled: int = 0
    differences: list[Difference] = []

    @property
    def differing(self) -> int:
        """Number of differences, listed or not."""
        return self.missing_in_finops + self.missing_in_dataverse + self.different + self.duplicate


class Compare:
    """Compares the halves of an environment by the table maps as they are compiled in `legs`."""

    def __init__(self, pools: Mapping[Half, Pool], legs: Legs) -> None:
        self._pools = dict(pools)
        self._legs = legs

    async def run(self, table_map: str, companies: Sequence[str] | None = None, limit: int = LIMIT) -> Report:
        """Compare a table map, in these companies or in all. NotFound (table_map_not_found), Rejected
        (company_not_found), Unavailable."""
        report = Report(table_map=table_map, companies=None if companies is None else list(companies))
        async with aclosing(self.differences(report)) as differences:
            async for difference in differences:
                if len(report.differences) < limit:
                    report.differences.append(difference)
        return report

    async def differences(self, report: Report) -> AsyncGenerator[Difference]:
        """All differences of the report's map and companies, one by one; fills in the report's counts meanwhile."""
        check_known([report.table_map], self._legs.catalog)
        await check_companies(self._pools, report.companies)
        comparison = self._comparison(report.table_map)
        legs = {half: self._legs.by_map[report.table_map, half] for half in HALVES if half in comparison.sends}
        tally = _Tally(report, legs)
        look = CloserLook(self._pools, comparison, legs)
        async with SideBySide(self._pools, comparison, report.companies) as reading:
            report.records = {half: reading.totals[half].records for half in HALVES}
            report.equal = report.records[tally.first]
            async with aclosing(reading.differing()) as groups:
                async for batch in _batches(groups):
                    for group in batch:
                        for duplicate in tally.duplicates(group):
                            yield duplicate
                    candidates = [found for group in batch if (found := tally.candidate(group)) is not None]
                    for difference in tally.settled(candidates, *await look.settle(candidates)):
                        yield difference

    def _comparison(self, table_map: str) -> Comparison:
        catalog = self._legs.catalog
        definition = catalog.table_maps[table_map]
        return compile_comparison(definition, catalog, Compiled(catalog)[definition.entity])


class _Tally:
    """Decides what a group of records may be, and counts what it turned out to be.

    `first` is the half whose records are counted as equal unless they turn out to be something else.
    """

    def __init__(self, report: Report, legs: Mapping[Half, Leg]) -> None:
        self._report = report
        self._sends = tuple(legs)
        self.first: Half = self._sends[0]

    def candidate(self, group: Beside) -> Candidate | None:
        """The record to be looked at more closely; None when the halves agree or the map says nothing about it.

        A key that several records have is told as their duplicate alone, until they are one.
        """
        if group.ambiguous:
            return None
        finops, dataverse = group.on("finops"), group.on("dataverse")
        if finops and dataverse and finops.checksum == dataverse.checksum:
            return None
        for half in self._sends:
            seen = group.on(half)
            if seen is not None and seen.takes_part:
                return Candidate(half, seen.id, seen.key)
        if not any(group.on(half) for half in self._sends):
            self._report.unmatched += len(group.finops) + len(group.dataverse)
        return None

    def duplicates(self, group: Beside) -> Iterator[Difference]:
        """Records beyond the first that have the key of the group."""
        for half in HALVES:
            records = group.finops if half == "finops" else group.dataverse
            if half not in self._sends and not group.on(PARTNER[half]):
                continue
            for seen in records[1:]:
                if seen.takes_part:
                    self._report.duplicate += 1
                    self._report.equal -= half == self.first
                    yield _duplicate(self._report.table_map, half, seen)

    def settled(
        self, candidates: list[Candidate], found: Mapping[Candidate, Difference], unsettled: int
    ) -> Iterator[Difference]:
        """The differences among the candidates, in their order."""
        report = self._report
        report.unsettled += unsettled
        report.equal -= unsettled
        for candidate in candidates:
            difference = found.get(candidate)
            if difference is None:
                continue
            report.equal -= candidate.origin == self.first
            if difference.kind == "different":
                report.different += 1
            elif difference.kind == "missing_in_finops":
                report.missing_in_finops += 1
            else:
                report.missing_in_dataverse += 1
            yield difference


def _duplicate(table_map: str, half: Half, seen: Seen) -> Difference:
    return Difference(
        table_map=table_map,
        kind="duplicate",
        key=shown_key(seen.key),
        company=seen.company,
        finops_id=seen.id if isinstance(seen.id, int) else None,
        dataverse_id=seen.id if isinstance(seen.id, UUID) else None,
    )


async def _batches(groups: AsyncIterator[Beside]) -> AsyncIterator[list[Beside]]:
    batch: list[Beside] = []
    async for group in groups:
        batch.append(group)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
