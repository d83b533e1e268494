"""Both halves of a table map read side by side, in memory that does not grow with the records.

First each half sums up checksums of its records by bucket of their keys. Where the sums of a bucket are equal, the
halves hold the same. Only the records of the other buckets are fetched, as key and checksum, and merged by key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import asyncpg
import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.comparison import Comparison
from isthmus.errors import Unavailable
from isthmus.store.pool import Pool
from isthmus.store.snapshot import snapshot
from isthmus.store.transaction import NO_CONNECTION

HALVES: tuple[Half, Half] = ("finops", "dataverse")

FETCHED = 1000
"""Records fetched at once from each half."""


class Seen(msgspec.Struct, frozen=True):
    """A record as one half shows it.

    `passes`: it passes the filter of its half and, in a company-specific map, has a company. `takes_part`: the map
    carries it away from this half, or carries nothing away from here at all. `refused`: it has a value that has no
    counterpart on the other half.
    """

    key: str | None
    company: str | None
    id: int | UUID
    passes: bool
    takes_part: bool
    refused: bool
    checksum: int


class Beside(msgspec.Struct, frozen=True):
    """The records of one integration key on both halves: one each at most, unless somebody made duplicates."""

    finops: list[Seen]
    dataverse: list[Seen]

    def on(self, half: Half) -> Seen | None:
        """The record on a half; of several, the first that takes part."""
        records = self.finops if half == "finops" else self.dataverse
        return records[0] if records else None

    @property
    def ambiguous(self) -> bool:
        """Both halves have the key and one of them more than once: which two of them are one record, nobody can say."""
        taking_part = [sum(seen.takes_part for seen in records) for records in (self.finops, self.dataverse)]
        return bool(self.finops and self.dataverse) and max(taking_part) > 1


class Totals(msgspec.Struct):
    """The records of one half that take part: by company, and (number, checksum) by bucket."""

    by_company: dict[str | None, int]
    by_bucket: dict[int, tuple[int, str]]

    @property
    def records(self) -> int:
        return sum(self.by_company.values())


class SideBySide:
    """One reading of a table map. Both halves are seen as they stood when it was entered, a moment apart at most."""

    def __init__(self, pools: dict[Half, Pool], comparison: Comparison, companies: Sequence[str] | None = None) -> None:
        self._pools = pools
        self._comparison = comparison
        self._companies = None if companies is None else [company.lower() for company in companies]
        self._connections: dict[Half, asyncpg.Connection] = {}
        self._open = AsyncExitStack()
        self.totals: dict[Half, Totals] = {}

    async def __aenter__(self) -> Self:
        try:
            for half in HALVES:
                self._connections[half] = await self._open.enter_async_context(snapshot(self._pools[half]))
            found = await asyncio.gather(*(self._read_totals(half) for half in HALVES))
        except BaseException:
            await self._open.aclose()
            raise
        self.totals = dict(zip(HALVES, found, strict=True))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def _read_totals(self, half: Half) -> Totals:
        totals = Totals({}, {})
        sql = self._comparison.sides[half].totals
        try:
            rows = await self._connections[half].fetch(sql, self._companies)
        except NO_CONNECTION as error:
            raise _lost(half, error) from error
        for row in rows:
            if row["bucket"] is None:
                totals.by_company[row["company"]] = row["records"]
            else:
                totals.by_bucket[row["bucket"]] = (row["records"], row["checksum"])
        return totals

    async def differing(self) -> AsyncGenerator[Beside]:
        """The records of all buckets that the halves do not agree about, equal ones among them, by key."""
        sums = [self.totals[half].by_bucket for half in HALVES]
        buckets = sorted(
            number for number in sums[0].keys() | sums[1].keys() if sums[0].get(number) != sums[1].get(number)
        )
        if not buckets:
            return
        async with (
            aclosing(self._records("finops", buckets)) as finops,
            aclosing(self._records("dataverse", buckets)) as dataverse,
            aclosing(_merge(finops, dataverse)) as merged,
        ):
            async for beside in merged:
                yield beside

    async def _records(self, half: Half, buckets: list[int]) -> AsyncGenerator[Seen]:
        sql = self._comparison.sides[half].records
        try:
            async for row in self._connections[half].cursor(sql, self._companies, buckets, prefetch=FETCHED):
                yield _seen(row)
        except NO_CONNECTION as error:
            raise _lost(half, error) from error


def _seen(row: Any) -> Seen:
    return Seen(
        row["key"], row["company"], row["id"], row["passes"], row["takes_part"], row["refused"], row["checksum"]
    )


async def _merge(finops: AsyncIterator[Seen], dataverse: AsyncIterator[Seen]) -> AsyncGenerator[Beside]:
    """Both streams, which are in order of the key, those without one last, as groups of one key."""
    streams = (finops, dataverse)
    heads = [await anext(stream, None) for stream in streams]
    while keys := [head.key for head in heads if head is not None and head.key is not None]:
        first = min(keys)
        groups: tuple[list[Seen], list[Seen]] = ([], [])
        for number, stream in enumerate(streams):
            while (head := heads[number]) is not None and head.key == first:
                groups[number].append(head)
                heads[number] = await anext(stream, None)
        yield Beside(*groups)
    for number, stream in enumerate(streams):
        while (head := heads[number]) is not None:
            yield Beside([head], []) if number == 0 else Beside([], [head])
            heads[number] = await anext(stream, None)


def _lost(half: Half, error: Exception) -> Unavailable:
    return Unavailable(f"The {half} half was lost while it was read: {error}. The same request may be sent again.")
