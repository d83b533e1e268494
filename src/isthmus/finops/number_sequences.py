"""Counters that must not wait for the save they serve: RecIds and number sequences.

Both are taken on connections of their own, outside the save's transaction, so that no save waits for another one's
number. A number taken by a save that is refused is not used again: sequences have gaps, F&O's default
("non-continuous").
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping

from isthmus.finops.schema import RECID_BLOCK
from isthmus.metadata.entity import NumberSequence
from isthmus.store.connections import Connections
from isthmus.store.pool import SESSION_SETTINGS, fetch

_TAKE = """
insert into isthmus.number_sequence as counter (name, dataareaid, next)
select $1, $2, $3::bigint + $4::bigint from set_config('synchronous_commit', 'off', true)
on conflict (name, dataareaid) do update set next = counter.next + $4::bigint
returning next - $4::bigint
"""
# No wait for the disk: a number lost with the machine is lost with its save, which stands behind it in the same log.

_HASHES = re.compile("#+")


class Counters:
    """RecIds and numbers for one process."""

    def __init__(self, pool: Connections, sequences: Mapping[str, NumberSequence]) -> None:
        self._pool = pool
        self._sequences = sequences
        self._recids: deque[int] = deque()

    @classmethod
    async def open(cls, dsn: str, sequences: Mapping[str, NumberSequence]) -> Counters:
        """Open the counters' own connections."""
        settings = {**SESSION_SETTINGS, "application_name": "isthmus finops counters"}
        return cls(Connections(dsn, size=2, settings=settings), sequences)

    async def close(self) -> None:
        """Wait for connections in use, then close all. RecIds that were taken and not used are gaps."""
        await self._pool.close()

    async def take_recids(self, count: int) -> deque[int]:
        """RecIds for one message; those it does not use go back with `return_recids`."""
        while len(self._recids) < count:
            blocks = -(-(count - len(self._recids)) // RECID_BLOCK)
            sql = "select nextval('isthmus.recid') as first from generate_series(1, $1)"
            for record in await fetch(self._pool, sql, blocks):
                self._recids.extend(range(record["first"], record["first"] + RECID_BLOCK))
        return deque(self._recids.popleft() for _ in range(count))

    def return_recids(self, recids: deque[int]) -> None:
        """Keep what a message took and did not use, for the next one."""
        self._recids.extendleft(reversed(recids))
        recids.clear()

    async def numbers(self, name: str, company: str, count: int) -> list[str]:
        """The next `count` numbers of a sequence, formatted; `company` counts for a company-specific one only."""
        sequence = self._sequences[name]
        scope = company if sequence.company_specific else ""
        ((first,),) = await fetch(self._pool, _TAKE, name, scope, sequence.start, count)
        return [formatted(sequence.format, number) for number in range(first, first + count)]


def formatted(pattern: str, number: int) -> str:
    """`number` in place of the pattern's `#`s, padded to their count: `formatted("C-####", 7)` is `C-0007`."""
    return _HASHES.sub(lambda hashes: str(number).zfill(len(hashes.group())), pattern, count=1)
