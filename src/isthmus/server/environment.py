"""What the server asks of an environment; isthmus.environments builds the real one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self

from isthmus.apps.principal import Principal
from isthmus.config import Settings
from isthmus.server.wire import ASGIApp


class Environment(Protocol):
    """Both halves over their databases."""

    @classmethod
    async def migrate(cls, settings: Settings, principals: Iterable[Principal]) -> None:
        """Create and migrate the databases, with a system user for everybody who may log in.

        Called once before any worker opens the environment.
        """

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Connect to the databases and build both halves; called once in every worker."""

    async def close(self) -> None:
        """Finish what runs and disconnect."""

    async def ready(self) -> bool:
        """Whether both halves and their databases answer now. Cheap."""

    @property
    def dataverse(self) -> ASGIApp:
        """The Dataverse half, from `/api/data/` on."""

    @property
    def finops(self) -> ASGIApp:
        """The finance and operations half, from `/data` and `/metadata` on."""

    @property
    def management(self) -> ASGIApp:
        """The management API, from `/api/isthmus/` on."""

    @property
    def management_calls(self) -> ASGIApp:
        """The management calls of dual-write, from `/api/` on."""
