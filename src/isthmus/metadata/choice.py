"""Choices: the options of a Dataverse choice column, and the members of an F&O enum."""

from __future__ import annotations

import msgspec


class Option(msgspec.Struct, frozen=True, array_like=True):
    """One option of a choice: its value and label; for a status reason also the state it belongs to."""

    value: int
    label: str
    state: int | None = None


class Member(msgspec.Struct, frozen=True, array_like=True):
    """One member of an F&O enum: its stored value and its symbol on the wire."""

    value: int
    symbol: str


class Enum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An F&O enum, such as NoYes. Symbols compare without regard to case, as X++ does."""

    name: str
    members: tuple[Member, ...]

    def value_of(self, symbol: str) -> int | None:
        """The stored value of a symbol, or None when the enum has no such member."""
        return next((m.value for m in self.members if m.symbol.lower() == symbol.lower()), None)

    def symbol_of(self, value: int) -> str | None:
        """The symbol of a stored value, or None when the enum has no such member."""
        return next((m.symbol for m in self.members if m.value == value), None)
