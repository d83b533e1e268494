"""What stands of table maps on a half: their states, the versions chosen, and where each state may lead."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.fence import State
from isthmus.errors import Rejected, Retriable
from isthmus.store.connections import Connections
from isthmus.store.pool import Pool, fetch
from isthmus.store.transaction import Transaction

ALLOWED: dict[State, tuple[State, ...]] = {
    "not_running": ("initializing", "running"),
    "initializing": ("running", "not_running"),
    "running": ("paused", "not_running"),
    "paused": ("resuming", "running", "not_running"),
    "resuming": ("running", "paused"),
}
"""Where each state may lead."""

_READ = """
select table_map, state, reason, pauses_itself, version, since, changed_by
from isthmus.table_map_state where $1::text[] is null or table_map = any($1) order by table_map
"""
_WRITE = """
insert into isthmus.table_map_state (table_map, state, reason, changed_by)
select n, $2, $3, $4 from unnest($1::text[]) n
on conflict (table_map) do update
    set state = excluded.state, reason = excluded.reason, changed_by = excluded.changed_by,
        since = clock_timestamp(), queue_alarm_at = null
"""
_SEED = """
insert into isthmus.table_map_state (table_map, state, changed_by)
select n, case when exists (select from isthmus.table_map_state) then 'not_running' else 'running' end, 'isthmus'
from unnest($1::text[]) n on conflict do nothing
"""
_WRITE_PAUSES_ITSELF = "update isthmus.table_map_state set pauses_itself = $2 where table_map = any($1)"
_WRITE_VERSION = """
insert into isthmus.table_map_state (table_map, state, version, changed_by) values ($1, 'not_running', $2, $3)
on conflict (table_map) do update set version = excluded.version, changed_by = excluded.changed_by
"""
_WRITE_GENERATION = "update isthmus.table_map_generation set generation = $1"
_GENERATION = "select generation from isthmus.table_map_generation"
_FORGET = "delete from isthmus.table_map_state where table_map = $1"


class TableMapState(msgspec.Struct, frozen=True, kw_only=True):
    """What stands of a table map on a half.

    `reason` says why it is paused: `manual`, `partner_away`, `schema`, `states_differ` or `alert:<name>`. `version` is
    the id of the chosen row of msdyn_dualwriteentitymap, None for the version that its solution ships. `pauses_itself`:
    the map pauses while the partner half is away, where others refuse the save.
    """

    table_map: str
    state: State = "not_running"
    reason: str | None = None
    pauses_itself: bool = False
    version: str | None = None
    since: datetime | None = None
    changed_by: str | None = None


class StateChange(msgspec.Struct, frozen=True, kw_only=True):
    """A table map went from one state to another; `by` is who asked, `half` the one that did it alone, if one did."""

    table_map: str
    before: State
    after: State
    reason: str | None
    by: str
    half: Half | None = None


async def read_states(transaction: Transaction, table_maps: Collection[str]) -> dict[str, TableMapState]:
    """What stands of these table maps on one half; one without a row is not running."""
    return _states(await transaction.rows(_READ, list(table_maps)), table_maps)


async def write_state(
    transaction: Transaction, table_maps: Collection[str], state: State, *, by: str, reason: str | None = None
) -> None:
    """Write the state on one half. The caller holds the fences and writes the other half in the same commit."""
    await transaction.run(_WRITE, sorted(table_maps), state, reason, by)


async def write_pauses_itself(transaction: Transaction, table_maps: Collection[str], pauses_itself: bool) -> None:
    """Write on one half what these table maps do while the partner is away."""
    await transaction.run(_WRITE_PAUSES_ITSELF, list(table_maps), pauses_itself)


async def write_version(transaction: Transaction, table_map: str, version: str | None, *, by: str) -> None:
    """Write the version chosen on one half, None for the one that is shipped."""
    await transaction.run(_WRITE_VERSION, table_map, version, by)


async def remove_state(transaction: Transaction, table_map: str) -> None:
    """Remove what stands of a table map on one half."""
    await transaction.run(_FORGET, table_map)


async def next_generation(finops: Transaction, dataverse: Transaction) -> int:
    """Raise the generation of all table maps on both halves; the new one."""
    following = max([int(await half.value(_GENERATION)) for half in (finops, dataverse)]) + 1
    for half in (finops, dataverse):
        await half.run(_WRITE_GENERATION, following)
    return following


async def seed_states(half: asyncpg.Connection, table_maps: Collection[str]) -> None:
    """Give shipped table maps a state: running in a new environment, whose halves are both empty; later not running."""
    await half.execute(_SEED, sorted(table_maps))


async def read_generation(pool: Pool) -> int:
    """The generation of all table maps as a half has it. Unavailable when the half is away."""
    return int((await pool.fetch(_GENERATION))[0][0])


async def read_half(pool: Connections, table_maps: Collection[str] | None) -> dict[str, TableMapState]:
    """What stands of these table maps on a half, or of all that ever had a state. Unavailable when it is away."""
    names = None if table_maps is None else list(table_maps)
    return _states(await fetch(pool, _READ, names), names or ())


def _states(records: Iterable[Any], table_maps: Collection[str]) -> dict[str, TableMapState]:
    found = {record["table_map"]: TableMapState(**dict(record)) for record in records}
    return {**{name: TableMapState(table_map=name) for name in table_maps}, **found}


async def agreed_states(
    finops: Transaction, dataverse: Transaction, names: Collection[str]
) -> dict[str, TableMapState]:
    """The states as both halves have them. Retriable while a half that was away has not been brought into line."""
    here, there = await read_states(finops, names), await read_states(dataverse, names)
    for name in here:
        if not alike(here[name], there[name]):
            raise Retriable(
                f"Table map '{name}' is {words(here[name].state)} on one half and {words(there[name].state)} on the "
                "other, which was away: they are brought into line within seconds. Try again.",
                code="table_map_changing",
                table_map=name,
            )
    return here


def alike(here: TableMapState | None, there: TableMapState | None) -> bool:
    """Whether both halves have the same state."""
    return (here.state if here else "not_running") == (there.state if there else "not_running")


def check_transition(name: str, before: State, to: State) -> None:
    """Rejected (`table_map_transition`) when one state does not lead to the other."""
    if to not in ALLOWED[before]:
        possible = " or ".join(words(state) for state in ALLOWED[before])
        raise Rejected(
            f"Table map '{name}' is {words(before)} and can't become {words(to)}: from here it can become "
            f"{possible}. Nothing was changed.",
            code="table_map_transition",
            table_map=name,
            state=before,
        )


def words(state: State) -> str:
    """A state as people read it."""
    return state.replace("_", " ")
