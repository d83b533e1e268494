"""The health check: what keeps changes from flowing, of the whole configuration and of each table map.

It reads only, and says what to do for each finding. What it means for a single record tells `why`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta

import asyncpg
import msgspec

from isthmus.apps.port import App
from isthmus.apps.principal import Half
from isthmus.clock import now
from isthmus.dual_write.activity import ActivityFilter, ActivityLog
from isthmus.dual_write.configuration_health import check_configuration
from isthmus.dual_write.delivery import HALF_NAMES
from isthmus.dual_write.dependencies import check_known
from isthmus.dual_write.findings import HALVES_FIRST, Finding
from isthmus.dual_write.legs import CurrentLegs
from isthmus.dual_write.map_state import MapStates
from isthmus.dual_write.queue import Queue, QueueCount
from isthmus.dual_write.refused_records import RefusedRecords
from isthmus.dual_write.schema_watch import SCHEMA
from isthmus.dual_write.state_rows import TableMapState
from isthmus.dual_write.table_map_health import Built, check_built, schema_has_changed
from isthmus.dual_write.versions import drifts_of_chosen
from isthmus.errors import Unavailable
from isthmus.finops.data_sources import Compiled
from isthmus.store.transaction import DRIVER_ERRORS

RECENT = timedelta(days=1)
"""How long ago a save may have been refused to be told of."""

HALVES: tuple[Half, ...] = ("finops", "dataverse")


class _Standing(msgspec.Struct, frozen=True):
    """What stands of the table maps on the halves that are there and in the activity log."""

    states: dict[Half, dict[str, TableMapState]]
    queued: dict[Half, dict[str, QueueCount]]
    refused_records: dict[str, int]
    refused_saves: dict[str, int]


class HealthCheck:
    """Looks at an open environment, in any number of processes."""

    def __init__(
        self,
        apps: Mapping[Half, App],
        pools: Mapping[Half, asyncpg.Pool],
        link: str,
        legs: CurrentLegs,
        states: MapStates,
        activity: ActivityLog,
    ) -> None:
        self._apps = apps
        self._pools = pools
        self._link = link
        self._legs = legs
        self._states = states
        self._activity = activity
        self._queue = Queue(pools)
        self._refused = RefusedRecords(pools)

    async def configuration(self) -> list[Finding]:
        """What is wrong with the configuration as a whole; of a half that is away, only that it is."""
        away = {half: finding for half in HALVES if (finding := await self._away(half)) is not None}
        catalog = (await self._legs.refresh()).catalog
        there = {half: pool for half, pool in self._pools.items() if half not in away}
        return [*away.values(), *[finding async for finding in check_configuration(there, self._link, catalog)]]

    async def table_maps(self, names: Collection[str] | None = None) -> list[Finding]:
        """Findings about these table maps, or about all, each map's most serious first.

        NotFound (`table_map_not_found`). While a half is away, what the other one knows of them.
        """
        legs = await self._legs.refresh()
        standing = await self._standing()
        # The versions that were chosen are rows of Dataverse.
        known = "dataverse" in standing.states
        drifts = await drifts_of_chosen(self._apps["dataverse"].pool, legs.catalog) if known else {}
        check_known(set(names or ()) - drifts.keys(), legs.catalog)
        compiled = Compiled(legs.catalog)
        found: list[Finding] = []
        for name in sorted(legs.catalog.table_maps.keys() | drifts if names is None else set(names)):
            of_map = [*_check_state(name, standing), *_check_backlog(name, standing)]
            table_map = legs.catalog.table_maps.get(name)
            if table_map is None:  # nothing is left of it that could run
                of_map += schema_has_changed(name, drifts[name])
            else:
                built = Built(
                    table_map=table_map,
                    sources=compiled[table_map.entity],
                    legs=legs,
                    pipeline=self._apps["dataverse"].pipeline,
                    drifts=drifts.get(name, ()),
                )
                of_map += check_built(built)
            found += sorted(of_map, key=lambda finding: ("error", "warning", "info").index(finding.level))
        return found

    async def _away(self, half: Half) -> Finding | None:
        try:
            await self._states.read((), half)
        except (Unavailable, *DRIVER_ERRORS) as error:
            return Finding(
                code="half_away",
                level="error",
                half=half,
                message=f"The database of {HALF_NAMES[half]} does not answer: {error}",
                advice="Start it. Table maps that pause themselves queue their changes meanwhile, others refuse saves.",
            )
        return None

    async def _standing(self) -> _Standing:
        saves = ActivityFilter(kinds=("live_sync_error",), since=now() - RECENT, open_only=True)
        away = [half for half in HALVES if await self._away(half) is not None]
        return _Standing(
            states={half: await self._states.read(half=half) for half in HALVES if half not in away},
            queued=await self._queue.counts(away=away),
            refused_records=await self._refused.counts(away=away),
            refused_saves=await self._activity.counts(saves),
        )


def _check_state(name: str, standing: _Standing) -> Iterator[Finding]:
    """400 and 500, and our own findings about the state a table map is in."""
    states = {half: known.get(name) for half, known in standing.states.items()}
    for half, state in states.items():
        if state is None:
            yield Finding(
                code="500",
                level="error",
                table_map=name,
                half=half,
                message=f"{HALVES_FIRST[half]} knows nothing of the table map: it never ran there.",
                advice="Run it.",
            )
    found = [state for state in states.values() if state is not None]
    if not found or len(found) < len(states):
        return
    first, last = found[0], found[-1]
    if first.state != last.state:
        yield Finding(
            code="table_map_states_differ",
            level="error",
            table_map=name,
            message=f"The table map is {_words(first.state)} on the F&O half and {_words(last.state)} on the "
            "Dataverse half, one of which was away.",
            advice="They are brought into line within seconds of both halves being there; is a server running?",
        )
    elif first.state == "not_running":
        yield Finding(
            code="400",
            level="warning",
            table_map=name,
            message="The table map is not running: no change flows, and none is kept for later.",
            advice="Run it, with an initial sync if records were changed meanwhile.",
        )
    elif first.state == "paused":
        yield Finding(
            code="table_map_paused",
            level="warning",
            table_map=name,
            message=f"The table map is paused since {first.since:%Y-%m-%d %H:%M} UTC ({first.reason or 'manual'}): "
            "its changes wait in the queue.",
            advice="Make it fit its schema again." if first.reason == SCHEMA else "Resume it.",
            details={"reason": first.reason},
        )
    elif first.state != "running":
        yield Finding(
            code="table_map_changing",
            level="info",
            table_map=name,
            message=f"The table map is {_words(first.state)}.",
            advice="See the progress of the request.",
        )


def _check_backlog(name: str, standing: _Standing) -> Iterator[Finding]:
    """What waits for somebody to look at it."""
    for half, counts in standing.queued.items():
        count = counts.get(name, QueueCount(0, 0))
        if count.failed:
            yield Finding(
                code="queued_changes_refused",
                level="error",
                table_map=name,
                half=half,
                message=f"{count.failed} queued change(s) of {HALF_NAMES[half]} were refused; {count.waiting} wait, "
                "those of the same records behind them.",
                advice="List the queue, correct what is refused and retry it, or dismiss it.",
                details={"failed": count.failed, "waiting": count.waiting},
            )
        elif count.waiting:
            yield Finding(
                code="queued_changes_wait",
                level="info",
                table_map=name,
                half=half,
                message=f"{count.waiting} change(s) of {HALF_NAMES[half]} wait in the queue.",
                advice="Resume the table map.",
                details={"waiting": count.waiting},
            )
    if refused := standing.refused_records.get(name):
        yield Finding(
            code="records_refused",
            level="warning",
            table_map=name,
            message=f"{refused} record(s) were refused by the initial sync.",
            advice="List them, correct them, and run the initial sync again for the refused ones only.",
            details={"records": refused},
        )
    if saves := standing.refused_saves.get(name):
        yield Finding(
            code="live_saves_refused",
            level="warning",
            table_map=name,
            message=f"{saves} save(s) were refused within the last day.",
            advice="Group the activity log of the table map by cause.",
            details={"saves": saves},
        )


def _words(state: str) -> str:
    return state.replace("_", " ")
