"""What every app offers to the floors above it, whichever half it is."""

from __future__ import annotations

from typing import Protocol

from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import Pipeline
from isthmus.apps.principal import Half, Principal
from isthmus.metadata.catalog import Catalog
from isthmus.observe import Stages
from isthmus.store.pool import Pool


class App(Protocol):
    """One half: its definitions, its database, and the pipeline that every write goes through."""

    half: Half
    catalog: Catalog
    pool: Pool
    pipeline: Pipeline

    def context(
        self,
        principal: Principal,
        *,
        correlation_id: str,
        stages: Stages | None = None,
        is_partner: bool = False,
    ) -> Context:
        """A context whose transaction begins when it is entered. `is_partner`: for a save begun on the other half."""
        ...

    async def execute(self, context: Context, message: Message) -> None:
        """Run a message through the pipeline: validation, steps, main operation; append to `context.changes`.

        Raises Rejected, NotFound or Conflict naming row, column and value; the transaction must then be rolled back.
        """
        ...
