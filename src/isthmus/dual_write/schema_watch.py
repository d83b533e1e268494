"""Table maps that their schemas no longer fit are taken out of live sync when a process starts, before it saves."""

from __future__ import annotations

from isthmus.dual_write.activity import ActivityLog, Entry
from isthmus.dual_write.fence import State
from isthmus.dual_write.map_state import MapStates
from isthmus.dual_write.schema_drift import Drift, drift_of, without_broken_rows
from isthmus.dual_write.state_watch import WATCH
from isthmus.dual_write.versions import chosen_table_maps
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap
from isthmus.store.pool import Pool

SCHEMA = "schema"
"""Why such a table map is paused."""


async def hold_what_does_not_fit(
    dataverse: Pool, catalog: Catalog, states: MapStates, activity: ActivityLog
) -> list[str]:
    """Pause the running table maps that name what is not there any more, and record what changed; their names.

    Their changes are queued without the broken rows. One that can't run at all without them is stopped.
    """
    held = []
    for name, table_map in (await chosen_table_maps(dataverse, catalog)).items():
        drifts = [drift for drift in drift_of(table_map, catalog) if drift.kind != "added"]
        if not drifts:
            continue
        state = (await states.read([name]))[name].state
        if state not in ("running", "initializing"):
            continue
        to: State = "paused" if state == "running" and _can_queue(table_map, catalog) else "not_running"
        if await states.change([name], to, by=WATCH, reason=SCHEMA):
            await activity.record(_entry(name, to, drifts))
            held.append(name)
    return held


def _can_queue(table_map: TableMap, catalog: Catalog) -> bool:
    return without_broken_rows(table_map, catalog) is not None


def _entry(name: str, state: State, drifts: list[Drift]) -> Entry:
    what = " ".join(f"{drift.what} {drift.advice}" for drift in drifts[:5])
    more = f" And {len(drifts) - 5} more." if len(drifts) > 5 else ""
    return Entry(
        kind="schema_changed",
        result="error",
        table_map=name,
        field=drifts[0].field,
        code=drifts[0].code,
        message=f"The schema no longer fits the table map, which is {state.replace('_', ' ')} now: {what}{more}",
        principal=WATCH,
    )
