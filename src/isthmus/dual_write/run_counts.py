"""What an initial sync of a table map would do, counted record by record without writing anything.

Keys and checksums of both halves are merged (see side_by_side); the checksum covers the values that the master's leg
writes, so that equal ones mean that nothing would change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.leg import PARTNER
from isthmus.dual_write.leg_comparison import compile_comparison
from isthmus.dual_write.side_by_side import HALVES, Beside, Seen, SideBySide
from isthmus.finops.data_sources import DataSources
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap
from isthmus.store.pool import Pool


class Written(msgspec.Struct):
    """Records that would be written to one half.

    `refused` are those that have a value without counterpart. Rows that lookups name and that are nowhere are not
    looked for: the run tells of them.
    """

    insert: int = 0
    update: int = 0
    refused: int = 0


class CompanyCounts(msgspec.Struct, kw_only=True):
    """What would become of the records of one company; None is all records of a map that is not company-specific.

    `records` are those that take part, by half. `conflicts` are records that both halves have and would send each other
    with different values. They are updates of the half that is not the master; where the newest change decides, it is
    open which half's they are, and they are no updates yet. `unchanged` are records of the master that the other half
    has already.
    """

    company: str | None
    records: dict[Half, int]
    to_dataverse: Written
    to_finops: Written
    conflicts: int = 0
    unchanged: int = 0


def leading_half(master: Half, sends: frozenset[Half]) -> Half:
    """The half whose records go first: the master, or the only one that the map carries records away from."""
    return master if master in sends else PARTNER[master]


async def count_run(
    pools: Mapping[Half, Pool],
    table_map: TableMap,
    catalog: Catalog,
    sources: DataSources,
    *,
    master: Half,
    newest: bool = False,
    companies: Sequence[str] | None = None,
    skip: bool = False,
) -> list[CompanyCounts]:
    """The counts by company, as both halves stood when this began; only `records` when initial sync is skipped.

    `newest`: the record that was changed last decides conflicts, instead of the master's. Exact once saves under way
    have ended. Unavailable while a half is away.
    """
    sends = compile_comparison(table_map, catalog, sources).sends
    leading = leading_half(master, sends)
    comparison = compile_comparison(table_map, catalog, sources, leading)
    async with SideBySide(dict(pools), comparison, companies) as reading:
        counts = _Counts(reading, leading, sends, by_time=newest)
        if not skip:
            async with aclosing(reading.differing()) as groups:
                async for group in groups:
                    counts.add(group)
    return counts.by_company(complete=not skip)


class _Counts:
    def __init__(self, reading: SideBySide, leading: Half, sends: frozenset[Half], *, by_time: bool) -> None:
        self._reading = reading
        self._leading = leading
        self._sends = sends
        self._by_time = by_time
        self._found: dict[str | None, CompanyCounts] = {}
        for half in HALVES:
            for company, records in reading.totals[half].by_company.items():
                self._of(company).records[half] = records

    def add(self, group: Beside) -> None:
        """Count the records of one key."""
        first, second = group.on(self._leading), group.on(PARTNER[self._leading])
        if first is not None and first.takes_part:
            self._add_leading(first, second)
        elif first is None and second is not None and second.takes_part and PARTNER[self._leading] in self._sends:
            written = self._towards(self._leading, second.company)
            if second.refused:
                written.refused += 1
            else:
                written.insert += 1

    def by_company(self, *, complete: bool) -> list[CompanyCounts]:
        """The counts, with what is left of the leading half's records as unchanged when all were looked at."""
        for counts in self._found.values() if complete else ():
            written = self._towards(PARTNER[self._leading], counts.company)
            changed = written.insert + written.update + written.refused + (counts.conflicts if self._by_time else 0)
            counts.unchanged = counts.records[self._leading] - changed
        return sorted(self._found.values(), key=lambda counts: counts.company or "")

    def _add_leading(self, record: Seen, counterpart: Seen | None) -> None:
        written = self._towards(PARTNER[self._leading], record.company)
        if counterpart is not None and counterpart.checksum == record.checksum:
            return
        goes_back = counterpart is not None and counterpart.passes and PARTNER[self._leading] in self._sends
        if record.refused:
            written.refused += 1
        elif counterpart is None:
            written.insert += 1
        elif not (goes_back and self._by_time):
            written.update += 1
        if goes_back and not record.refused:
            self._of(record.company).conflicts += 1

    def _towards(self, half: Half, company: str | None) -> Written:
        counts = self._of(company)
        return counts.to_dataverse if half == "dataverse" else counts.to_finops

    def _of(self, company: str | None) -> CompanyCounts:
        found = self._found.get(company)
        if found is None:
            records: dict[Half, int] = {"finops": 0, "dataverse": 0}
            found = self._found[company] = CompanyCounts(
                company=company, records=records, to_dataverse=Written(), to_finops=Written()
            )
        return found
