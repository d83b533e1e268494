"""Record locks: one advisory lock per (table map, integration key), always on the F&O half first, in one order.

Writers of one record on opposite halves lock rows in opposite order, and neither database can see the whole wait. With
the same lock taken first by both, always in the same database and in sorted order, they queue instead
(commit-protocol 2.5; without it a prototype did 7 saves a second instead of 950).

A lock ends with the transaction it was taken in. For a save that began on Dataverse that is the prepared one: the next
writer waits until both halves have the save. One that began on F&O commits there first, so it takes the same locks on
Dataverse too, where they last until its prepared transaction ends. Otherwise a delete that follows a create would not
see the row that is still prepared, delete on one half only, and recovery would then bring the row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from isthmus.apps.principal import Half
from isthmus.store.transaction import Transaction

LOCK_HOME: Half = "finops"

_LOCK = "select pg_advisory_xact_lock(k) from unnest($1::bigint[]) k"


def lock_number(table_map: str, key: str) -> int:
    """The 64-bit number that stands for a record of a map."""
    digest = hashlib.blake2b(f"{table_map}\x1f{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


async def lock_records(home: Transaction, numbers: Iterable[int]) -> None:
    """Take the locks, sorted; they end with the transaction. Retriable when another save holds one for too long."""
    ordered = sorted(set(numbers))
    if ordered:
        await home.run(_LOCK, ordered)
