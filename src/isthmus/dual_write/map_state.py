"""Changes of the states of table maps: on both halves in one commit, or alone while the partner half is away."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Literal, TypeVar

from isthmus.apps.principal import Half
from isthmus.dual_write import gate
from isthmus.dual_write.fence import State, take_fences, take_fences_alone
from isthmus.dual_write.leg import PARTNER
from isthmus.dual_write.queue import count_open, dismiss_all
from isthmus.dual_write.state_rows import (
    StateChange,
    TableMapState,
    agreed_states,
    alike,
    check_transition,
    next_generation,
    read_half,
    read_states,
    remove_state,
    words,
    write_pauses_itself,
    write_state,
    write_version,
)
from isthmus.errors import Rejected, Retriable, Unavailable
from isthmus.ids import new_gid
from isthmus.store.connections import Connections
from isthmus.store.transaction import Transaction
from isthmus.store.two_phase import Resolve, commit_both

Result = TypeVar("Result")
Queued = Literal["refuse", "keep", "discard"]

PATIENCE = 30.0
"""Seconds that a change of state goes on trying to hold the saves of its table maps."""

CUT_SHORT = ("paused", "running")
"""Going live without catching up."""

HALVES: tuple[Half, ...] = ("finops", "dataverse")

PARTNER_AWAY = "partner_away"
STATES_DIFFER = "states_differ"

Told = Callable[[StateChange], Awaitable[None]]
"""Told of each change of state, once it stands."""


class MapStates:
    """The states of the table maps of one link, over a small pool of its own to each half."""

    def __init__(self, pools: Mapping[Half, Connections], link: str, resolve: Resolve, told: Told) -> None:
        self._pools = pools
        self._link = link
        self._resolve = resolve
        self._told = told

    async def read(self, table_maps: Collection[str] | None = None, half: Half = "finops") -> dict[str, TableMapState]:
        """What stands of these table maps, or of all that ever had a state. Unavailable when the half is away."""
        return await read_half(self._pools[half], table_maps)

    async def known(self, table_maps: Collection[str] | None = None) -> tuple[dict[str, TableMapState], list[Half]]:
        """As `read`, from whichever half is there, F&O when both are; and the halves that are away, at most one."""
        found: dict[Half, dict[str, TableMapState]] = {}
        for half in HALVES:
            try:
                found[half] = await self.read(table_maps, half)
            except Unavailable as error:
                lost = error
        if not found:
            raise lost
        return next(iter(found.values())), [half for half in HALVES if half not in found]

    async def change(
        self,
        table_maps: Collection[str],
        to: State,
        *,
        by: str,
        reason: str | None = None,
        pauses_itself: bool | None = None,
        queued: Queued = "refuse",
    ) -> list[StateChange]:
        """Bring table maps into a state, all or none; those that are in it already stay as they are.

        `reason` is kept while paused. `queued` says what becomes of changes that still wait when a paused map is
        stopped or goes live: the change of state is refused, they are kept and applied one after the other, or they are
        discarded, which stays on record. `pauses_itself` sets what the map does while the partner is away.

        Rejected: `table_map_transition` when the present state does not lead there, `table_map_queue_not_empty`.
        Retriable when saves under way, or a half that has just come back, do not let go of it.
        """
        names = sorted(set(table_maps))

        async def work(finops: Transaction, dataverse: Transaction) -> list[StateChange]:
            before = await agreed_states(finops, dataverse, names)
            changing = [name for name in names if before[name].state != to]
            for name in changing:
                check_transition(name, before[name].state, to)
            leaving = [name for name in changing if to == "not_running" or (before[name].state, to) == CUT_SHORT]
            if leaving and not (queued == "keep" and to == "running"):
                await _settle_queues((finops, dataverse), leaving, to, by=by, reason=reason, queued=queued)
            for half in (finops, dataverse):
                if to == "initializing":
                    await gate.clear(half, changing)
                await write_state(half, changing, to, by=by, reason=reason if to == "paused" else None)
                if pauses_itself is not None:
                    await write_pauses_itself(half, names, pauses_itself)
            return [
                StateChange(table_map=name, before=before[name].state, after=to, reason=reason, by=by)
                for name in changing
            ]

        return await self._tell(await self._on_both(names, work))

    async def pause(self, table_maps: Collection[str], *, by: str, reason: str | None) -> list[StateChange]:
        """Pause running table maps; while a half is away on the other one, where their changes are queued from then on.

        They stay paused when the half is back. Raises what `change` does.
        """
        try:
            return await self.change(table_maps, "paused", by=by, reason=reason)
        except Unavailable:
            states, away = await self.known(table_maps)
            if not away:
                raise
        for name, found in states.items():
            if found.state != "paused":
                check_transition(name, found.state, "paused")
        return await self.pause_alone(table_maps, PARTNER[away[0]], by=by, reason=reason)

    async def set_pauses_itself(self, table_maps: Collection[str], pauses_itself: bool) -> None:
        """Say whether these table maps pause themselves while the partner half is away."""
        names = sorted(set(table_maps))

        async def work(finops: Transaction, dataverse: Transaction) -> None:
            for half in (finops, dataverse):
                await write_pauses_itself(half, names, pauses_itself)

        await self._on_both(names, work)

    async def choose(self, table_map: str, version: str | None, *, by: str) -> int:
        """Choose the version that a stopped table map runs in, None for the shipped one; the new generation.

        Every process compiles the table maps anew before its next save. Rejected (`table_map_not_stopped`).
        """

        async def write(half: Transaction) -> None:
            await write_version(half, table_map, version, by=by)

        return await self._new_generation(table_map, write)

    async def forget(self, table_map: str) -> int:
        """Drop the state of a stopped table map that is being deleted; the new generation."""

        async def write(half: Transaction) -> None:
            await remove_state(half, table_map)

        return await self._new_generation(table_map, write)

    async def _new_generation(self, table_map: str, write: Callable[[Transaction], Awaitable[None]]) -> int:
        async def work(finops: Transaction, dataverse: Transaction) -> int:
            state = (await agreed_states(finops, dataverse, [table_map]))[table_map].state
            if state != "not_running":
                raise Rejected(
                    f"Table map '{table_map}' is {words(state)}: stop it before its definition changes.",
                    code="table_map_not_stopped",
                    table_map=table_map,
                )
            for half in (finops, dataverse):
                await write(half)
            return await next_generation(finops, dataverse)

        return await self._on_both([table_map], work, every_save=True)

    async def pause_alone(
        self, table_maps: Collection[str], half: Half, *, by: str, reason: str | None = PARTNER_AWAY
    ) -> list[StateChange]:
        """Pause running table maps on one half only, because its partner is away; `reconcile` brings the rest.

        Saves of the other half, should it be alive, are told to try again until then.
        """
        names = sorted(set(table_maps))

        async def attempt() -> list[StateChange]:
            transaction = Transaction(self._pools[half])
            try:
                await transaction.begin()
                await take_fences_alone(transaction, names)
                states = await read_states(transaction, names)
                running = [name for name in names if states[name].state == "running"]
                await write_state(transaction, running, "paused", by=by, reason=reason)
                await transaction.commit()
            finally:
                await transaction.close()
            return [
                StateChange(table_map=name, before="running", after="paused", reason=reason, by=by, half=half)
                for name in running
            ]

        return await self._tell(await _patiently(attempt))

    async def reconcile(self, *, by: str) -> list[str]:
        """Bring the halves into line after one was away; the table maps that paused themselves and may now resume.

        Table maps that differ are paused on both. Unavailable while a half is away.
        """
        finops, dataverse = await self.read(half="finops"), await self.read(half="dataverse")
        names = finops.keys() | dataverse.keys()
        differing = [name for name in names if not _agree(finops.get(name), dataverse.get(name))]
        if differing:
            await self._bring_into_line(differing, by)
            finops = await self.read(half="finops")
        return [name for name, found in finops.items() if found.state == "paused" and found.reason == PARTNER_AWAY]

    async def _bring_into_line(self, names: list[str], by: str) -> None:
        async def work(finops: Transaction, dataverse: Transaction) -> list[StateChange]:
            here, there = await read_states(finops, names), await read_states(dataverse, names)
            changes = []
            for name in names:
                found = (here[name], there[name])
                if _agree(*found):
                    continue
                reason = _common_reason(found)
                for half in (finops, dataverse):
                    await write_state(half, [name], "paused", by=by, reason=reason)
                    await write_pauses_itself(half, [name], here[name].pauses_itself or there[name].pauses_itself)
                changes += [
                    StateChange(table_map=name, before=state.state, after="paused", reason=reason, by=by)
                    for state in found
                    if state.state != "paused"
                ][:1]
            return changes

        await self._tell(await self._on_both(names, work))

    async def _on_both(
        self,
        names: Collection[str],
        work: Callable[[Transaction, Transaction], Awaitable[Result]],
        *,
        every_save: bool = False,
    ) -> Result:
        """Do `work` on both halves with the fences held, F&O being the origin, and commit both."""

        async def attempt() -> Result:
            finops, dataverse = Transaction(self._pools["finops"]), Transaction(self._pools["dataverse"])
            try:
                await finops.begin()
                await dataverse.begin()
                await take_fences(finops, names, every_save=every_save)
                await take_fences(dataverse, names, every_save=every_save)
                result = await work(finops, dataverse)
                await commit_both(finops, dataverse, new_gid(self._link, "finops"), self._resolve)
            finally:
                await dataverse.close()
                await finops.close()
            return result

        return await _patiently(attempt)

    async def _tell(self, changes: list[StateChange]) -> list[StateChange]:
        for change in changes:
            await self._told(change)
        return changes


def _agree(here: TableMapState | None, there: TableMapState | None) -> bool:
    """Whether both halves have the same state, and when it is paused for the same reason."""
    return alike(here, there) and (here.reason if here else None) == (there.reason if there else None)


def _common_reason(found: Sequence[TableMapState]) -> str | None:
    """Why a table map is paused whose halves did not agree. Whoever paused it on one half wants it paused; only what
    paused itself resumes by itself."""
    reasons = [state.reason for state in found if state.state == "paused"]
    return next((reason for reason in reasons if reason != PARTNER_AWAY), PARTNER_AWAY if reasons else STATES_DIFFER)


async def _settle_queues(
    halves: Sequence[Transaction], leaving: Collection[str], to: State, *, by: str, reason: str | None, queued: Queued
) -> None:
    """What becomes of changes that still wait when table maps stop, or go live without having caught up."""
    if queued == "discard":
        for half in halves:
            await dismiss_all(half, leaving, by=by, reason=reason or f"discarded: the table map is {words(to)}")
        return
    waiting: Counter[str] = Counter()
    for half in halves:
        waiting.update({name: rows.waiting + rows.failed for name, rows in (await count_open(half, leaving)).items()})
    for name, rows in waiting.items():
        raise Rejected(
            f"Changes of table map '{name}' wait in the queue: {rows}. Resume it with catch-up, or say that they are "
            "to be discarded.",
            code="table_map_queue_not_empty",
            table_map=name,
        )


async def _patiently(attempt: Callable[[], Awaitable[Result]]) -> Result:
    """Try until the fences are had, letting writers pass in between, for as long as `PATIENCE` lasts."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return await attempt()
        except Retriable as error:
            if error.code != "lock_timeout" or time.monotonic() > end:
                raise
        await asyncio.sleep(random.uniform(0.02, 0.2))
