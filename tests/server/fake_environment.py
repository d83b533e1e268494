"""An environment that really answers and really uses its databases, without either half's behaviour."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import asyncpg
import msgspec

from isthmus.apps.principal import Principal
from isthmus.config import Settings
from isthmus.errors import Unavailable
from isthmus.server.wire import ASGIApp, Receive, Scope, Send, answer


class Environment:
    """Each half answers with who asked; `?seconds=` lets it take its time.

    A file `fail_migration`, `fail_open` or `fail_finops` in the data directory makes that fail.
    """

    def __init__(self, pools: dict[str, asyncpg.Pool], failing: Path) -> None:
        self._pools = pools
        self._failing = failing

    @classmethod
    async def migrate(cls, settings: Settings, principals: Iterable[Principal]) -> None:
        if (settings.data_dir / "fail_migration").exists():
            raise OSError("the migration was told to fail")
        for dsn in (settings.control_dsn, settings.dataverse_dsn, settings.finops_dsn):
            connection = await asyncpg.connect(dsn)
            await connection.execute("CREATE TABLE IF NOT EXISTS note (value text)")
            await connection.execute("CREATE TABLE IF NOT EXISTS may_log_in (object_id text, kind text)")
            for who in principals:
                await connection.execute("INSERT INTO may_log_in VALUES ($1, $2)", who.object_id, who.kind)
            await connection.close()

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        if (settings.data_dir / "fail_open").exists():
            raise Unavailable("the environment was told not to open")
        halves = {"dataverse": settings.dataverse_dsn, "finops": settings.finops_dsn}
        pools = {half: await asyncpg.create_pool(dsn, min_size=1, max_size=2) for half, dsn in halves.items()}
        return cls(pools, settings.data_dir / "fail_finops")

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()

    async def ready(self) -> bool:
        try:
            for pool in self._pools.values():
                await pool.fetchval("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    @property
    def dataverse(self) -> ASGIApp:
        return self._half("dataverse")

    @property
    def finops(self) -> ASGIApp:
        return self._half("finops")

    @property
    def management(self) -> ASGIApp:
        return self._half("finops")

    @property
    def management_calls(self) -> ASGIApp:
        return self._half("finops")

    def _half(self, name: str) -> ASGIApp:
        pool = self._pools[name]

        async def half(scope: Scope, receive: Receive, send: Send) -> None:
            if name == "finops" and self._failing.exists():
                await answer(send, 500, b"{}", [])
                return
            query = scope["query_string"].decode()
            if query.startswith("seconds="):
                await asyncio.sleep(float(query.removeprefix("seconds=")))
            database = await pool.fetchval("SELECT current_database()")
            principal = scope["isthmus.principal"]
            body = {"half": name, "database": database, "pid": os.getpid(), "caller": principal.name}
            shown = {**body, "kind": principal.kind, "object_id": principal.object_id, "scheme": scope["scheme"]}
            await answer(send, 200, msgspec.json.encode(shown), [])

        return half
