"""What live sync knows of one transaction: both contexts, the locks held, which record is which, what was deleted."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from isthmus.apps.context import Context
from isthmus.apps.port import App
from isthmus.apps.principal import DUAL_WRITE, Half
from isthmus.dual_write.leg import Leg, Projected
from isthmus.dual_write.record_lock import LOCK_HOME, lock_number, lock_records
from isthmus.ids import new_gid
from isthmus.store.crash_points import crash_point

RowId = int | UUID


class Exchange:
    """One two-sided save. Lives in the `shared` of both contexts, so that steps on either half find it."""

    def __init__(self, origin: Context, partner_app: App, link: str) -> None:
        self.origin = origin
        self.gid = new_gid(link, origin.half)
        self.partner = partner_app.context(
            DUAL_WRITE, correlation_id=origin.correlation_id, stages=origin.stages, is_partner=True
        )
        self.partner.shared[Exchange] = self
        self.deleted: dict[tuple[str, RowId], Projected] = {}
        self.rounds = 0
        self._locked: set[int] = set()
        self._pairs: dict[tuple[str, Half, RowId], RowId] = {}
        self._seen: dict[Half, int] = {"dataverse": 0, "finops": 0}
        self._begun = False

    async def begin(self) -> None:
        """Begin the partner's transaction, once."""
        if not self._begun:
            await self.partner.__aenter__()
            self._begun = True

    async def close(self) -> None:
        """Give the partner's connection back; what was neither committed nor prepared is rolled back."""
        if self._begun:
            self._begun = False
            await self.partner.__aexit__(None, None, None)

    def side(self, half: Half) -> Context:
        """The context of a half."""
        return self.origin if self.origin.half == half else self.partner

    async def lock(self, keys: Iterable[tuple[str, str]]) -> None:
        """Lock records given as (table map, key) that this save does not hold yet."""
        wanted = {lock_number(table_map, key) for table_map, key in keys} - self._locked
        if not wanted:
            return
        await self.begin()
        crash_point("before_lock")
        await lock_records(self.side(LOCK_HOME).transaction, wanted)
        if self.origin.half == LOCK_HOME:
            await lock_records(self.partner.transaction, wanted)
        self._locked |= wanted
        crash_point("after_lock")

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
