"""The run that benchmarks.initial_sync measures, in a process of its own: prints the seconds that it took.

It is what `isthmus map run` asks for: a request, carried out by the runner of a server process; first the leg out of
F&O, then the one back, for records that F&O lacks.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import uvloop

from isthmus.config import Settings
from isthmus.dual_write.operations import RunParameters
from isthmus.environments.environment import Environment

TABLE_MAP = "accounts - Customers V3"


async def run(settings: Settings, company: str) -> float:
    """Seconds from the request to its end. SystemExit when it ended in error, or refused a record."""
    environment = await Environment.open(settings)
    dual_write = environment.dual_write
    await dual_write.states.change((TABLE_MAP,), "not_running", by="benchmark")
    began = time.perf_counter()
    parameters = RunParameters(master="finops", companies=[company])
    request = await dual_write.operations.run([TABLE_MAP], parameters, needed=False, by="benchmark")
    while request.ended_at is None:
        await asyncio.sleep(0.1)
        request = await dual_write.requests.get(request.id)
    seconds = time.perf_counter() - began
    if request.state != "completed" or any(part.refused for part in request.progress):
        raise SystemExit(f"the run ended {request.state}: {request.message} {request.progress}")
    await environment.close()
    return seconds


if __name__ == "__main__":
    print(uvloop.run(run(Settings(data_dir=Path(sys.argv[1])), sys.argv[2])))
