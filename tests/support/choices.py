"""Choices that a generator makes: Hypothesis's in a test, a seeded pseudo-random source's elsewhere."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

AWKWARD = (
    'O\'Brien & "Söhne" \\ 50%_off',
    "ÀÉÎ ñ ß",
    "日本語 テキスト",
    "🙂 smile",
    "  padded  ",
    "SELECT 1; -- $1",
    "MiXeD cAsE",
    "line\nbreak\ttab",
    "null",
    "0",
)
"""Text that programs stumble over."""

_LETTERS = st.characters(exclude_categories=("Cs", "Cc"))


class Choices(Protocol):
    """Where a generator takes its decisions from."""

    def one_of(self, options: Sequence[T]) -> T:
        """One of the options."""
        ...

    def whole(self, low: int, high: int) -> int:
        """A whole number between both bounds, which belong to it."""
        ...

    def text(self, longest: int) -> str:
        """Text of at most that many characters."""
        ...


class Drawn:
    """Choices that Hypothesis draws, and shrinks when a test fails."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def one_of(self, options: Sequence[T]) -> T:
        return self._data.draw(st.sampled_from(options))

    def whole(self, low: int, high: int) -> int:
        return self._data.draw(st.integers(low, high))

    def text(self, longest: int) -> str:
        known = [text[:longest] for text in AWKWARD]
        return self._data.draw(st.sampled_from(["", "x" * longest, *known]) | st.text(_LETTERS, max_size=longest))


class Seeded:
    """Choices of a pseudo-random source: the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def one_of(self, options: Sequence[T]) -> T:
        return self._random.choice(options)

    def whole(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def text(self, longest: int) -> str:
        return self._random.choice(AWKWARD)[:longest]
