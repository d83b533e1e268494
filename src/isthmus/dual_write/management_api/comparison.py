"""Compare the halves by a table map, and repair what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.activity import ActivityLog, Entry, Record
from isthmus.dual_write.compare import LIMIT, Compare, Report
from isthmus.dual_write.leg import PARTNER
from isthmus.dual_write.legs import CurrentLegs
from isthmus.dual_write.management_api.endpoint import Caller, endpoint
from isthmus.dual_write.repair import Apart, Repair, Repaired
from isthmus.store.pool import Pool

MOST_DIFFERENCES = 100_000


class Comparing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Legal entities to compare, all when not given; how many differences to list (all are counted)."""

    companies: list[str] | None = None
    limit: Annotated[int, msgspec.Meta(ge=0, le=MOST_DIFFERENCES)] = LIMIT


class Repairing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Records, by their ids as differences name them, and the half that is right.

    `delete`: what that half lacks is deleted on the other one.
    """

    side: Half
    records: list[Apart]
    delete: bool = False


class ComparisonCalls:
    """Which records differ between the halves, and bringing them into line."""

    def __init__(self, pools: Mapping[Half, Pool], legs: CurrentLegs, repair: Repair, activity: ActivityLog) -> None:
        self._activity = activity
        self._pools = pools
        self._legs = legs
        self._repair = repair

    @endpoint("POST", "/table-maps/{name}/compare")
    async def compare_table_map(self, name: str, body: Comparing) -> Report:
        """Compare the halves while both are in use: what one lacks, and what differs in which values.

        Checksums are compared first, and only the records of those that differ are read. Takes as long as reading all
        records of the table map.
        """
        return await Compare(self._pools, await self._legs.refresh()).run(name, body.companies, body.limit)

    @endpoint("POST", "/table-maps/{name}/repair")
    async def repair_records(self, name: str, body: Repairing, caller: Caller) -> list[Repaired]:
        """Bring chosen records into line from the chosen half, each in a save on both halves; one result per record."""
        repaired = await self._repair.repair(
            name, body.side, body.records, delete=body.delete, correlation_id=caller.correlation_id
        )
        await self._activity.record(_entry(name, body.side, repaired, caller))
        return repaired


def _entry(table_map: str, side: Half, repaired: list[Repaired], caller: Caller) -> Entry:
    """What the activity log says of a repair."""
    refused = [one for one in repaired if one.outcome == "refused"]
    reason = f" {refused[0].message}" if refused else ""
    return Entry(
        kind="repaired",
        result="refused" if refused else "done",
        table_map=table_map,
        origin=side,
        records=[
            Record(half=half, id=str(id_))
            for one in repaired
            for half in (side, PARTNER[side])
            if (id_ := one.record.on(half)) is not None
        ],
        code=refused[0].code if refused else None,
        message=f"{len(repaired) - len(refused)} records were repaired, {len(refused)} refused.{reason}",
        principal=caller.principal.object_id,
        correlation_id=caller.correlation_id,
    )
