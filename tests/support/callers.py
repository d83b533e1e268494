"""Who calls in tests."""

from __future__ import annotations

from isthmus.apps.principal import Principal

CALLER = Principal(
    "user", "11111111-2222-4333-8444-555555555555", "Test user", frozenset({"dataverse", "finops"}), float("inf")
)
