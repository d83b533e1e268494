"""Timing of the stages of a request, and the structured log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("isthmus")


class Stages:
    """The named stages of one request and the milliseconds each took, in the order they first ran."""

    __slots__ = ("_milliseconds",)

    def __init__(self) -> None:
        self._milliseconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage; a stage that runs twice adds up."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, (time.perf_counter() - began) * 1000)

    def add(self, name: str, milliseconds: float) -> None:
        """Add milliseconds to a stage (for code where a context manager costs too much)."""
        self._milliseconds[name] = self._milliseconds.get(name, 0.0) + milliseconds

    def server_timing(self) -> str:
        """The value of the `Server-Timing` header (W3C Server Timing): `parse;dur=0.1, main;dur=1.2`."""
        return ", ".join(f"{name};dur={value:.2f}" for name, value in self._milliseconds.items())
