"""Dual-write of an environment: what works between its two halves, composed, and the tasks that one process runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Self

import asyncpg

from isthmus.apps.port import App
from isthmus.apps.principal import Half
from isthmus.config import Settings
from isthmus.dataverse.app import DataverseApp
from isthmus.dual_write.activity import ActivityLog
from isthmus.dual_write.alert_watch import AlertWatch, act_by
from isthmus.dual_write.alerts import AlertRules
from isthmus.dual_write.catch_up import CatchUp
from isthmus.dual_write.catch_up_watch import DELIVER, CatchUpWatch
from isthmus.dual_write.editing import Editing
from isthmus.dual_write.fresh_delivery import FreshDelivery
from isthmus.dual_write.health_check import HealthCheck
from isthmus.dual_write.initial_sync import InitialSync
from isthmus.dual_write.known_table_maps import KnownTableMaps
from isthmus.dual_write.legs import CurrentLegs
from isthmus.dual_write.live_sync import LiveSync
from isthmus.dual_write.map_state import MapStates
from isthmus.dual_write.open_errors import open_errors
from isthmus.dual_write.operations import Operations
from isthmus.dual_write.queue import Queue
from isthmus.dual_write.repair import Repair
from isthmus.dual_write.request_handlers import RequestHandlers
from isthmus.dual_write.request_runner import Handler, RequestRunner
from isthmus.dual_write.requests import Requests
from isthmus.dual_write.schema_watch import hold_what_does_not_fit
from isthmus.dual_write.shipped_versions import register as protect_versions
from isthmus.dual_write.state_rows import StateChange
from isthmus.dual_write.state_watch import WATCH, StateWatch, entry_of
from isthmus.dual_write.versions import Versions
from isthmus.dual_write.why import Why
from isthmus.errors import Retriable, Unavailable
from isthmus.finops.app import FinopsApp
from isthmus.store.connections import Connections
from isthmus.store.pool import SESSION_SETTINGS
from isthmus.store.two_phase import Resolve

POOL_SIZE = 2
"""Connections to each half for what is done to table maps, apart from those that saves may use up."""


class DualWrite:
    """Live sync between both halves, the states of the table maps, their queues and the activity log."""

    def __init__(
        self,
        settings: Settings,
        dataverse: DataverseApp,
        finops: FinopsApp,
        pools: Mapping[Half, Connections],
        activity: ActivityLog,
        legs: CurrentLegs,
        link: str,
        resolve: Resolve,
    ) -> None:
        apps: dict[Half, App] = {"dataverse": dataverse, "finops": finops}
        self.link = link
        self.activity = activity
        self.legs = legs
        self.queue = Queue(pools)
        self.requests = Requests(activity.pool)
        self.states = MapStates(pools, link, resolve, self._record)
        self.versions = Versions(dataverse, self.states, activity)
        self.editing = Editing(dataverse, self.versions, self.states, activity)
        protect_versions(dataverse)
        self._pools = pools
        self._tasks: list[asyncio.Task[None]] = []
        pause_alone = partial(self.states.pause_alone, by=WATCH)
        self.live_sync = LiveSync(apps, legs, link, resolve, activity.refused, pause_alone)
        self.live_sync.register()
        self.alert_rules = AlertRules(activity.pool, activity, settings.mail_server)
        self.alert_watch = AlertWatch(
            activity.pool,
            activity,
            act_by(self.states),
            mail_server=settings.mail_server,
            retention=settings.activity_retention_days,
        )
        self.catch_up = CatchUp(apps, self.live_sync, self.states, activity, resolve, self._record)
        self.catch_up_watch = CatchUpWatch(pools, legs, self.requests)
        self._watch = StateWatch(
            self.states,
            self.queue,
            legs,
            activity,
            alarm_rows=settings.queue_alarm_rows,
            check_schemas=partial(hold_what_does_not_fit, dataverse.pool, dataverse.catalog, self.states, activity),
            resume=self.catch_up_watch.resume,
        )
        delivery = FreshDelivery(dataverse, finops, self.live_sync)
        self.health = HealthCheck(apps, pools, link, legs, self.states, activity)
        self.why = Why(apps, pools, legs, self.states, activity)
        self.repair = Repair(apps, self.live_sync, delivery, legs)
        self.operations = Operations(
            {half: app.pool for half, app in apps.items()}, legs.refresh, self.states, self.requests
        )
        initial_sync = InitialSync(dataverse, finops, legs, delivery)
        handlers = RequestHandlers(
            self.requests,
            self.states,
            initial_sync,
            self.catch_up,
            activity,
            pools,
            legs,
            dataverse.catalog.table_maps,
        )
        self.handlers: dict[str, Handler] = {**handlers.by_action(), DELIVER: self.catch_up.deliver}

    @classmethod
    async def open(
        cls,
        settings: Settings,
        dataverse: DataverseApp,
        finops: FinopsApp,
        addresses: Mapping[Half, str],
        control: asyncpg.Pool,
        link: str,
        resolve: Resolve,
    ) -> Self:
        """Compile the table maps as they stand and put live sync on both pipelines; a half may be away."""
        known = KnownTableMaps(dataverse.pool, control, dataverse.catalog)
        legs = await CurrentLegs.open(dataverse.catalog, known.table_maps, known.generation)
        pools = {
            half: Connections(address, size=POOL_SIZE, settings=SESSION_SETTINGS) for half, address in addresses.items()
        }
        activity = ActivityLog(control, open_errors(pools))
        dual_write = cls(settings, dataverse, finops, pools, activity, legs, link, resolve)
        with suppress(Unavailable, Retriable):
            await dual_write._watch.check_schemas()
        return dual_write

    def start(self, ended: Callable[[asyncio.Task[None]], None]) -> None:
        """Start the tasks; `ended` is called should one of them ever end."""
        self._tasks = [
            asyncio.create_task(self._watch.run(), name="table map states"),
            asyncio.create_task(self.alert_watch.run(), name="alerts"),
            asyncio.create_task(self.catch_up_watch.run(), name="queues"),
            asyncio.create_task(RequestRunner(self.activity.pool, self.handlers).run(), name="requests"),
        ]
        for task in self._tasks:
            task.add_done_callback(ended)

    async def close(self, ended: Callable[[asyncio.Task[None]], None]) -> None:
        """Stop the tasks and disconnect."""
        for task in self._tasks:
            task.remove_done_callback(ended)
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for pool in self._pools.values():
            await pool.close()

    async def _record(self, change: StateChange) -> None:
        await self.activity.record(entry_of(change))
