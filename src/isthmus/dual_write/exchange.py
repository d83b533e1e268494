"""What live sync knows of one transaction: both contexts, the table maps it takes part in and their states, the locks
held, which record is which, what was deleted."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from isthmus.apps.context import Context
from isthmus.apps.port import App
from isthmus.apps.principal import DUAL_WRITE, Half
from isthmus.dual_write import gate
from isthmus.dual_write.fence import LIVE, State, enter, join
from isthmus.dual_write.leg import Leg, Projected
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.record_lock import LOCK_HOME, lock_number, lock_records
from isthmus.errors import Retriable
from isthmus.ids import new_gid
from isthmus.store.crash_points import crash_point

RowId = int | UUID


class Exchange:
    """One two-sided save. Lives in the `shared` of both contexts, so that steps on either half find it.

    `legs` are those of the table maps as they stand while this save lasts; `states` those of the maps it has entered;
    `queued` the maps with changes in the queue of a half, as (half, table map). `deleted` and `renamed` are records as
    they were before this save deleted them or gave them another key, by table map and id. `gone` are rows that were
    deleted since the queued change of theirs that this save delivers. `unkeyed` are values, by table map and record,
    that were sent without the key of the row they name. `superseded`: it took values out of the partner's queue.
    `replayed` is the half whose queue this save delivers.
    """

    def __init__(self, origin: Context, partner_app: App, link: str, legs: Legs) -> None:
        self.origin = origin
        self.gid = new_gid(link, origin.half)
        self.partner = partner_app.context(
            DUAL_WRITE, correlation_id=origin.correlation_id, stages=origin.stages, is_partner=True
        )
        self.partner.shared[Exchange] = self
        self.legs = legs
        self.states: dict[str, State] = {}
        self.queued: set[tuple[Half, str]] = set()
        self.deleted: dict[tuple[str, RowId], Projected] = {}
        self.renamed: dict[tuple[str, RowId], Projected] = {}
        self.gone: set[tuple[Half, RowId]] = set()
        self.unkeyed: dict[tuple[str, Half], dict[RowId, set[str]]] = {}
        self.superseded = False
        self.replayed: Half | None = None
        self.rounds = 0
        self.generation: int | None = None
        self._pausing: set[str] = set()
        self._needed: set[str] = set()
        self._joined: set[str] = set()
        self._locked: set[int] = set()
        self._to_lock: set[int] = set()
        self._marked: set[tuple[Half, str, str]] = set()
        self._pairs: dict[tuple[str, Half, RowId], RowId] = {}
        self._seen: dict[Half, int] = {"dataverse": 0, "finops": 0}
        self._begun = False
        self._partner_lost = False

    async def enter(self, table_maps: Iterable[str]) -> None:
        """Take part in table maps: their states hold from now on until the save ends.

        The first call also fixes the generation of all table maps, whatever maps it names.
        """
        new = set(table_maps) - self.states.keys()
        if not new and self.generation is not None:
            return
        entered = await enter(self.origin.transaction, new, first=self.generation is None)
        self.generation = entered.generation
        self.states.update({name: entered.state(name) for name in new})
        self.queued.update((self.origin.half, name) for name in entered.queued)
        self._pausing.update(entered.pausing)

    def is_live(self, table_map: str) -> bool:
        """Whether changes of an entered map are carried to the partner."""
        return self.states[table_map] in LIVE

    async def begin(self) -> None:
        """Begin the partner's transaction, once."""
        if not self._begun:
            self._partner_lost = True
            await self.partner.__aenter__()
            self._partner_lost = False
            self._begun = True

    async def close(self) -> None:
        """Give the partner's connection back; what was neither committed nor prepared is rolled back."""
        if self._begun:
            self._begun = False
            await self.partner.__aexit__(None, None, None)

    def side(self, half: Half) -> Context:
        """The context of a half."""
        return self.origin if self.origin.half == half else self.partner

    @property
    def has_partner_part(self) -> bool:
        """Whether the partner's transaction holds something that has to be committed with the origin's."""
        is_marked = any(half == self.partner.half for half, _, _ in self._marked)
        return bool(self.partner.changes) or self.superseded or is_marked

    @property
    def partner_is_away(self) -> bool:
        """Whether it is the partner half, and not this one too, that was lost; nothing of the save stands then."""
        is_lost = self._partner_lost or self.partner.transaction.state == "unknown"
        return is_lost and self.origin.transaction.state == "open"

    def pausable(self) -> list[str]:
        """The table maps that can pause themselves instead of having the save refused while the partner is away; none
        when one of them can't."""
        may_pause = all(self.states[name] == "running" and name in self._pausing for name in self._needed)
        return sorted(self._needed) if may_pause else []

    async def lock(self, keys: Iterable[tuple[str, str]]) -> None:
        """Lock records given as (table map, key) that this save does not hold yet.

        A save that begins on the home of the locks takes those of the partner half when it joins that.
        """
        known = list(keys)
        wanted = {lock_number(table_map, key) for table_map, key in known} - self._locked
        if not wanted:
            return
        crash_point("before_lock")
        self._to_lock |= wanted
        if self.origin.half == LOCK_HOME:
            await lock_records(self.origin.transaction, wanted)
        if self.origin.half != LOCK_HOME or self._begun:
            await self.join(*{table_map for table_map, _ in known})
        self._locked |= wanted
        crash_point("after_lock")

    async def join(self, *needed: str) -> None:
        """Begin the partner's transaction, see that the partner has the live table maps in the same states, and lock
        there what is to be locked. `needed` are the maps that have something to be carried over.

        Retriable when a map's state differs: one half was away and paused it alone.
        """
        self._needed.update(needed)
        await self.begin()
        names = {name for name in self.states if self.is_live(name)} - self._joined
        if not names and not self._to_lock:
            return
        partner = self.partner.transaction
        entered = await join(partner, names, sorted(self._to_lock))
        self._joined |= names
        self._to_lock.clear()
        self.queued.update((self.partner.half, name) for name in entered.queued)
        differing = {name for name in names if entered.state(name) != self.states[name]}
        if not differing:
            return
        # A change of state commits on one half an instant before it does on the other: its fence is held until then.
        entered = await enter(partner, differing)
        for name in differing:
            if entered.state(name) != self.states[name]:
                raise Retriable(
                    f"Table map '{name}' has paused itself on the other half. Nothing was saved; send the same "
                    "request again in a moment.",
                    code="table_map_changing",
                    table_map=name,
                )

    async def mark(self, half: Half, table_map: str, keys: Iterable[str]) -> None:
        """Keep initial sync away from records of a map that is initializing; nothing for other maps."""
        if self.states.get(table_map) != "initializing":
            return
        new = {key for key in keys if (half, table_map, key) not in self._marked}
        await gate.mark(self.side(half).transaction, table_map, new)
        self._marked.update((half, table_map, key) for key in new)

    def pair(self, leg: Leg, source: RowId, destination: RowId) -> None:
        """Remember that two rows are one record: a key worked out on one half must not make a second row."""
        self._pairs[leg.name, leg.source, source] = destination
        self._pairs[leg.name, leg.destination, destination] = source

    def paired(self, leg: Leg, source: RowId) -> RowId | None:
        """The row at the leg's destination that this save is known to have paired with `source`."""
        return self._pairs.get((leg.name, leg.source, source))

    def news(self, half: Half) -> tuple[int, int]:
        """Range of the half's changes that have not been carried over yet; they count as carried afterwards."""
        begin, end = self._seen[half], len(self.side(half).changes)
        self._seen[half] = end
        return begin, end
