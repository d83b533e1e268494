"""The gate between live sync and initial sync: nothing copied earlier overwrites, or brings back, what was saved since.

While a table map is initializing, every save that live sync carries marks the keys of its records on the Dataverse
half, where initial sync writes what it has staged. A chunk of staged records skips the keys that are marked; those
records are carried as they stand now. The two exclude each other by advisory locks on buckets of keys: shared for live
sync, exclusive for the chunk. So a chunk sees the mark of every save that has begun to write there, and a save sees all
that a chunk has written.
"""

from __future__ import annotations

from collections.abc import Collection

from isthmus.store.transaction import Transaction

_MARK = "select isthmus.mark_gate($1, $2::text[])"
_CLOSE = "select isthmus.close_gate($1, $2::integer[])"
_CLEAR = "delete from isthmus.gate where table_map = any($1::text[])"


async def mark(dataverse: Transaction, table_map: str, keys: Collection[str]) -> None:
    """Keep chunks away from these records, from before they are looked for until the transaction ends, and after.

    For live sync, on the Dataverse half, before it looks for counterparts or writes. Retriable when a chunk takes too
    long.
    """
    if keys:
        await dataverse.run(_MARK, table_map, sorted(set(keys)))


async def close(dataverse: Transaction, table_map: str, buckets: Collection[int]) -> None:
    """Keep live sync away from the records of these buckets until the transaction ends; for a chunk of initial sync."""
    await dataverse.run(_CLOSE, table_map, sorted(set(buckets)))


async def clear(dataverse: Transaction, table_maps: Collection[str]) -> None:
    """Forget all marks of table maps: for the change of state to initializing, under its fence."""
    await dataverse.run(_CLEAR, list(table_maps))
