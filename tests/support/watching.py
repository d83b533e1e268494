"""A client of the management API's stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tests.support.callers import CALLER

from isthmus.dual_write.management_api.app import ROOT
from isthmus.environments.environment import Environment


class Watching:
    """A client of the stream, at the level of ASGI: it reads while the answer goes on."""

    def __init__(self, environment: Environment, **headers: str) -> None:
        self.draining = asyncio.Event()
        self._left = asyncio.Event()
        self._received = b""
        self._more = asyncio.Event()
        self.status = 0
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "path": f"{ROOT}/stream",
            "raw_path": f"{ROOT}/stream".encode(),
            "query_string": b"",
            "scheme": "http",
            "server": ("test", 80),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "isthmus.principal": CALLER,
            "isthmus.draining": self.draining,
        }
        self.task = asyncio.create_task(environment.management(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self._received += message.get("body", b"")
            self._more.set()

    async def until(self, wanted: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """The events so far, once they are as wanted."""
        async with asyncio.timeout(20):
            while not wanted(self.events):
                self._more.clear()
                await self._more.wait()
        return self.events

    @property
    def events(self) -> list[dict[str, Any]]:
        found = []
        for block in self._received.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "data" in fields:
                found.append({"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])})
        return found

    async def leave(self) -> None:
        self._left.set()
        await asyncio.wait_for(self.task, 5)
