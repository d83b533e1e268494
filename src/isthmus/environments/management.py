"""The management API over an open environment: its nouns, and what they stand on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from isthmus.apps.principal import Half
from isthmus.clock import now
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.system_users import names_of
from isthmus.dual_write.activity import Record
from isthmus.dual_write.filter_tester import FilterTester
from isthmus.dual_write.management_api.actions import ActionCalls
from isthmus.dual_write.management_api.activity import ActivityCalls
from isthmus.dual_write.management_api.alerts import AlertCalls
from isthmus.dual_write.management_api.app import ManagementApi
from isthmus.dual_write.management_api.comparison import ComparisonCalls
from isthmus.dual_write.management_api.definitions import DefinitionCalls
from isthmus.dual_write.management_api.feed import Feed, Observation
from isthmus.dual_write.management_api.health import HealthCalls
from isthmus.dual_write.management_api.once import Once
from isthmus.dual_write.management_api.queue import QueueCalls
from isthmus.dual_write.management_api.refused_records import RefusedRecordCalls
from isthmus.dual_write.management_api.requests import RequestCalls
from isthmus.dual_write.management_api.stream import Stream
from isthmus.dual_write.management_api.table_maps import TableMapCalls
from isthmus.dual_write.management_api.trials import TrialCalls
from isthmus.dual_write.management_calls.environments import EnvironmentCalls
from isthmus.dual_write.management_calls.maps import MapCalls
from isthmus.dual_write.management_calls.project import Projects
from isthmus.dual_write.management_calls.solutions import SolutionCalls
from isthmus.dual_write.preview import Previewer
from isthmus.dual_write.refused_records import RefusedRecords
from isthmus.dual_write.repair import Repair
from isthmus.dual_write.requests import Requests
from isthmus.environments.admission import Admission
from isthmus.environments.dual_write import DualWrite
from isthmus.errors import Rejected, Unavailable
from isthmus.finops.app import FinopsApp
from isthmus.store.connections import Connections
from isthmus.store.pool import Pool
from isthmus.store.transaction import DRIVER_ERRORS

EPOCH = datetime.fromtimestamp(0, UTC)

SHOWN_REQUESTS = 50
"""Requests, the newest, whose progress the stream tells of."""


def management_api(dataverse: DataverseApp, finops: FinopsApp, dual_write: DualWrite) -> ManagementApi:
    """The management API of an environment, for everybody whom the Dataverse half knows as a system user."""

    pools: Mapping[Half, Pool] = {"dataverse": dataverse.pool, "finops": finops.pool}
    origins = {half: pool.origin for half, pool in pools.items()}
    current, states, requests = dual_write.legs.refresh, dual_write.states, dual_write.requests
    table_maps = TableMapCalls(current, states, dual_write.queue, requests)
    nouns = [
        table_maps,
        ActionCalls(dual_write.operations),
        RequestCalls(requests, origins),
        Stream(Feed(partial(_observed, table_maps, requests))),
        QueueCalls(current, dual_write.queue, dual_write.activity),
        RefusedRecordCalls(RefusedRecords(origins)),
        ActivityCalls(dual_write.activity, partial(_resend, dual_write.repair), partial(_names, dataverse)),
        AlertCalls(dual_write.alert_rules),
        DefinitionCalls(dataverse.catalog, dual_write.versions, dual_write.editing),
        TrialCalls(
            dual_write.versions,
            Previewer(dataverse.pool, finops.pool, dataverse.catalog),
            FilterTester(dataverse.pool, finops.pool, dataverse.catalog),
        ),
        HealthCalls(dual_write.health, dual_write.why),
        ComparisonCalls(pools, dual_write.legs, dual_write.repair, dual_write.activity),
    ]
    control = dual_write.activity.pool
    return ManagementApi(nouns, Admission(dataverse, control), Once(control))


def management_calls(dataverse: DataverseApp, finops: FinopsApp, dual_write: DualWrite) -> ManagementApi:
    """The management calls of dual-write at their own paths, for the same callers."""
    origins: dict[Half, Connections] = {"dataverse": dataverse.pool.origin, "finops": finops.pool.origin}
    versions, requests, operations = dual_write.versions, dual_write.requests, dual_write.operations
    projects = Projects(dual_write.link, origins, dual_write.legs, versions, requests)
    nouns = [
        MapCalls(projects, operations, requests),
        SolutionCalls(projects, versions, requests),
        EnvironmentCalls(projects, operations, dual_write.editing, dual_write.alert_rules, dataverse.pool),
    ]
    control = dual_write.activity.pool
    return ManagementApi(nouns, Admission(dataverse, control), Once(control), root="")


async def _resend(repair: Repair, table_map: str, record: Record) -> None:
    """Send a record as it stands now. Raises the error of a refusal."""
    id_ = int(record.id) if record.half == "finops" else UUID(record.id)
    (sent,) = await repair.send(table_map, record.half, [id_], correlation_id=str(uuid4()))
    if sent.outcome == "refused":
        raise Rejected(sent.message or "The record was refused.", code=sent.code, table_map=table_map, key=record.key)


async def _names(dataverse: DataverseApp, principals: Collection[str]) -> dict[str, str]:
    """The names of those of these object ids that are system users; none while the half is away."""
    try:
        return await names_of(dataverse.pool.fetch, principals)
    except (Unavailable, *DRIVER_ERRORS):
        return {}


async def _observed(table_maps: TableMapCalls, requests: Requests) -> list[Observation]:
    """Everything that the stream tells of, as it stands."""
    maps, newest = await table_maps.summaries(), await requests.newest(limit=SHOWN_REQUESTS)
    return [
        *(Observation("table_map", one.name, one.since or EPOCH, one) for one in maps),
        *(Observation("request", str(one.id), one.ended_at or now(), one) for one in newest),
    ]
