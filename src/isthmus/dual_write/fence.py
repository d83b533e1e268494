"""The fence of a table map: what a save reads of the map's state when it enters holds until the save ends.

The state stands on both halves and changes on both in one commit, under an advisory lock that every save takes shared
on the half where it began and a change of state takes exclusively on both. So a change is either delivered or queued,
never both and never neither.

A half whose partner is away may pause a table map alone. Saves that begin on the partner look for that when they join:
under a second lock, which only such a pause takes exclusively. With the first one taken by saves on both halves, a
change of state and a save could each hold one half and wait for the other, where no database sees the circle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import asyncpg
import msgspec

from isthmus.errors import Retriable
from isthmus.store.transaction import Transaction

State = Literal["not_running", "initializing", "running", "paused", "resuming"]

LIVE: frozenset[State] = frozenset({"running", "initializing"})
"""States in which a save carries its changes to the partner half."""

QUEUEING: frozenset[State] = frozenset({"paused", "resuming"})
"""States in which a save puts its changes into the queue of the half they were made on."""

FENCE_SECONDS = 0.25
"""How long a change of state waits for the fences of one half, holding writers meanwhile, before it lets them pass."""

_LOCK = "select pg_advisory_xact_lock(f) from unnest($1::bigint[]) f"
_ENTER = "select isthmus.enter_table_maps($1, $2)::text"
_JOIN = "select isthmus.join_table_maps($1, $2, $3)::text"


class Entered(msgspec.Struct, frozen=True):
    """What a half knows of the table maps asked for.

    `states` are those other than running; `queued` the maps with changes in the queue of this half; `pausing` those
    that pause themselves while the partner is away; `generation` is that of all table maps.
    """

    generation: int
    states: dict[str, State]
    queued: list[str]
    pausing: list[str]

    def state(self, table_map: str) -> State:
        """The state of a table map that was asked for."""
        return self.states.get(table_map, "running")


_ENTERED = msgspec.json.Decoder(Entered)


def fence_number(table_map: str, purpose: str = "fence") -> int:
    """The 64-bit number that stands for a table map's fence."""
    digest = hashlib.blake2b(f"{purpose}\x1e{table_map}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


EVERY_SAVE = fence_number("", "every save")
"""The fence that each save takes part in, whatever it touches: held while the generation of table maps changes."""


OTHER_GENERATION = "IS001"
"""SQLSTATE of `generation_condition`."""


async def enter(origin: Transaction, table_maps: Collection[str], *, first: bool = False) -> Entered:
    """Take part in these table maps on the half where the save began; `first` on the save's first call."""
    fences = ([EVERY_SAVE] if first else []) + _numbers(table_maps)
    return _ENTERED.decode(await origin.value(_ENTER, fences, sorted(table_maps)))


def generation_condition(generation: int) -> str:
    """A statement that fails, with OTHER_GENERATION, when the table maps are of another generation; for a commit."""
    return f"select isthmus.check_generation({EVERY_SAVE:d}, {generation:d})"


async def join(partner: Transaction, table_maps: Collection[str], records: Sequence[int] = ()) -> Entered:
    """Take part in these table maps on the partner half, then take the record locks `records`, given in order."""
    fences = _numbers(table_maps, "alone")
    return _ENTERED.decode(await partner.value(_JOIN, fences, sorted(table_maps), records))


async def take_fences(transaction: Transaction, table_maps: Collection[str], *, every_save: bool = False) -> None:
    """Hold all saves of these table maps on this half until the transaction ends; `every_save` holds really all.

    On both halves: F&O first. Retriable when saves under way do not end in a quarter of a second: roll back both
    transactions, wait a moment, try again.
    """
    await _take(transaction, ([EVERY_SAVE] if every_save else []) + _numbers(table_maps))


async def take_fences_alone(transaction: Transaction, table_maps: Collection[str]) -> None:
    """As `take_fences`, on a half whose partner is away: also holds the saves that come over from there."""
    await _take(transaction, [*_numbers(table_maps), *_numbers(table_maps, "alone")])


def _numbers(table_maps: Iterable[str], purpose: str = "fence") -> list[int]:
    return sorted(fence_number(name, purpose) for name in set(table_maps))


async def _take(transaction: Transaction, fences: list[int]) -> None:
    await transaction.run(f"set local statement_timeout = {int(FENCE_SECONDS * 1000)}")
    try:
        await transaction.run(_LOCK, fences)
    except asyncpg.QueryCanceledError as error:
        raise Retriable(
            "Saves of the table map are under way and did not end in time. Nothing was changed; try again.",
            code="lock_timeout",
        ) from error
    await transaction.run("set local statement_timeout = '120s'")
