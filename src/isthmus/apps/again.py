"""Writes that are run once more, in a new transaction, because what they found when they began no longer holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from isthmus.errors import Retriable

Result = TypeVar("Result")

ATTEMPTS = 5
"""Times that a write is run, at most, before its caller is told to send it again."""


class RunAgain(Retriable):
    """The write itself is right: roll its transaction back, await `first`, and run it anew."""

    def __init__(self, message: str, *, code: str, first: Callable[[], Awaitable[object]] | None = None) -> None:
        super().__init__(message, code=code)
        self.first = first


async def run_again(write: Callable[[], Awaitable[Result]]) -> Result:
    """Run `write`, which begins and ends a transaction of its own, until it no longer asks to be run again."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await write()
        except RunAgain as error:
            if error.first is not None:
                await error.first()
    return await write()
