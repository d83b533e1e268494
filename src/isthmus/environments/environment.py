"""An environment: both halves composed, and everything that works between them registered on them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Iterable
from typing import Self

import asyncpg

from isthmus import solutions
from isthmus.apps.principal import Half, Principal
from isthmus.config import Settings
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.webapi import WebApi
from isthmus.environments.databases import database_address, migrate_all
from isthmus.environments.dual_write import DualWrite
from isthmus.environments.link import read_link
from isthmus.environments.management import management_api, management_calls
from isthmus.finops.app import FinopsApp
from isthmus.finops.odata import ODataService
from isthmus.observe import log
from isthmus.solutions.plugins import register_plugins
from isthmus.store.connections import Connections
from isthmus.store.recovery import AGE, Recovery
from isthmus.store.transaction import DRIVER_ERRORS

RECOVERY_AGE = float(os.environ.get("ISTHMUS_RECOVERY_AGE", AGE))
"""Torture tests set it to 0, where recovery races every coordinator that is alive."""

READY_SECONDS = 5.0
"""How long the databases of both halves may take to answer before they count as away."""


class Environment:
    """Both halves, open. The server asks for `dataverse` and `finops`, tests and commands for the rest."""

    def __init__(
        self,
        control: asyncpg.Pool,
        dataverse_app: DataverseApp,
        finops_app: FinopsApp,
        dual_write: DualWrite,
        recovery: Recovery,
        recovery_pools: dict[str, Connections],
    ) -> None:
        self.control = control
        self.dataverse_app = dataverse_app
        self.finops_app = finops_app
        self.recovery = recovery
        self.dual_write = dual_write
        self.activity = dual_write.activity
        self.dataverse = WebApi(dataverse_app)
        self.finops = ODataService(finops_app)
        self.management = management_api(dataverse_app, finops_app, dual_write)
        self.management_calls = management_calls(dataverse_app, finops_app, dual_write)
        self._recovery_pools = recovery_pools
        self._recovering: asyncio.Task[None] | None = None

    @classmethod
    async def migrate(cls, settings: Settings, principals: Iterable[Principal]) -> None:
        """Create and migrate the databases; once, before any server process opens the environment."""
        await migrate_all(settings, solutions.catalog(), principals)

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Connect to the control database, build both halves and start recovery and the tasks of dual-write.

        The databases of the halves may be away: what needs them says so until they are back.
        """
        environment = await cls.connect(settings)
        environment.start_recovery()
        environment.dual_write.start(_end_process)
        # The catalog and the legs live as long as the process: the collector need not look at them again and again.
        gc.collect()
        gc.freeze()
        return environment

    @classmethod
    async def connect(cls, settings: Settings) -> Self:
        """As `open`, to look at both halves: nothing runs that nobody asks for."""
        catalog = solutions.catalog()
        addresses: dict[Half, str] = {
            "dataverse": database_address(settings, "dataverse"),
            "finops": database_address(settings, "finops"),
        }
        control = await asyncpg.create_pool(database_address(settings, "control"), min_size=1, max_size=4)
        link = await read_link(control)
        recovery_pools: dict[str, Connections] = {
            half: Connections(address, size=2, settings={"lock_timeout": "3s"}) for half, address in addresses.items()
        }
        recovery = Recovery(recovery_pools, link, age=RECOVERY_AGE)
        dataverse = await DataverseApp.open(addresses["dataverse"], catalog, size=settings.pool_size)
        finops = await FinopsApp.open(
            addresses["finops"], catalog, size=settings.pool_size, default_company=settings.default_company
        )
        register_plugins(dataverse, finops)
        dual_write = await DualWrite.open(settings, dataverse, finops, addresses, control, link, recovery.resolve)
        return cls(control, dataverse, finops, dual_write, recovery, recovery_pools)

    def start_recovery(self) -> None:
        """Recover now and every second. Should the task ever end, so does the process: never silently without it."""
        self._recovering = asyncio.create_task(self.recovery.run(), name="recovery")
        self._recovering.add_done_callback(_end_process)

    async def ready(self) -> bool:
        """Whether the databases of both halves answer."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                for pool in self._recovery_pools.values():
                    await pool.fetchval("select 1")
        except DRIVER_ERRORS:
            return False
        return True

    async def close(self) -> None:
        """Stop recovery and disconnect."""
        if self._recovering is not None:
            self._recovering.remove_done_callback(_end_process)
            self._recovering.cancel()
            await asyncio.wait((self._recovering,))
        await self.dual_write.close(_end_process)
        await self.dataverse_app.close()
        await self.finops_app.close()
        for pool in (*self._recovery_pools.values(), self.control):
            await pool.close()


def _end_process(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        log.critical("task_ended", task=task.get_name(), error=repr(task.exception()))
        os.kill(os.getpid(), signal.SIGTERM)
