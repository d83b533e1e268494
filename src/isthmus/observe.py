"""Timing of the stages of a request, and the structured log."""

from __future__ import annotations

import time

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("isthmus")


class Stages:
    """The named stages of one request and the milliseconds each took, in the order they first ran."""

    __slots__ = ("_milliseconds",)

    def __init__(self) -> None:
        self._milliseconds: dict[str, float] = {}

    def stage(self, name: str) -> Stage:
        """Time one stage, as in `with stages.stage("main"):`; a stage that runs twice adds up."""
        return Stage(self, name)

    def add(self, name: str, milliseconds: float) -> None:
        """Add milliseconds to a stage (for code where a context manager costs too much)."""
        self._milliseconds[name] = self._milliseconds.get(name, 0.0) + milliseconds

    def server_timing(self) -> str:
        """The value of the `Server-Timing` header (W3C Server Timing): `parse;dur=0.1, main;dur=1.2`."""
        return ", ".join(f"{name};dur={value:.2f}" for name, value in self._milliseconds.items())


class Stage:
    """One run of a stage."""

    __slots__ = ("_began", "_name", "_stages")

    def __init__(self, stages: Stages, name: str) -> None:
        self._stages = stages
        self._name = name

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._stages.add(self._name, (time.perf_counter() - self._began) * 1000)
