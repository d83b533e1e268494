"""An initial sync in a process of its own, which a test may kill: request, three addresses, table maps."""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID

from tests.support.initial_sync import KINDS, Run

from isthmus.config import Settings
from isthmus.environments.environment import Environment


async def main(request: str, *arguments: str) -> None:
    """Run it to its end."""
    addresses = {f"{kind}_dsn": address for kind, address in zip(KINDS, arguments, strict=False)}
    environment = await Environment.open(Settings(pool_size=5, **addresses))
    try:
        run = Run(environment, {})
        await run.run(*arguments[len(KINDS) :], request=UUID(request), master="finops")
    finally:
        await environment.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
