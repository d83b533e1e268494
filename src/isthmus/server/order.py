"""What one process of an environment tells another to run, as one line through a pipe."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Self

import msgspec

from isthmus import config
from isthmus.config import Settings
from isthmus.server.environment import Environment

ENVIRONMENT = "isthmus.environments.environment:Environment"
LOG_FILE = Path("logs") / "server.log"


class ServerOrder(msgspec.Struct, frozen=True):
    """The settings, and the environment's class as `package.module:Class`."""

    settings: msgspec.Raw
    environment: str

    @classmethod
    def of(cls, settings: Settings, environment: str | None = None) -> Self:
        """The order for these settings; None = the real environment."""
        return cls(msgspec.Raw(config.dumps(settings)), environment or ENVIRONMENT)

    @classmethod
    def read(cls, line: bytes) -> Self:
        """The order that `line` wrote."""
        return msgspec.json.decode(line, type=cls)

    def line(self) -> bytes:
        """The order as one line. It may hold passwords: it goes through pipes only, never into arguments."""
        return msgspec.json.encode(self) + b"\n"

    def read_settings(self) -> Settings:
        """The settings in the order."""
        return config.loads(bytes(self.settings))

    def load_environment(self) -> type[Environment]:
        """The environment's class, imported."""
        module, _, name = self.environment.partition(":")
        found: type[Environment] = getattr(importlib.import_module(module), name)
        return found
