"""Version numbers of table maps: a.b.c.d."""

from __future__ import annotations

from isthmus.errors import Rejected


def version_numbers(version: str) -> tuple[int, ...]:
    """A version a.b.c.d as numbers, for comparison; Rejected (`version_number`) when it is none."""
    parts = version.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
        raise Rejected(
            f"'{version}' is no version number; write four numbers with dots between them, as in 1.0.0.1.",
            code="version_number",
            version=version,
        )
    return tuple(int(part) for part in parts)


def rank(version: str | None) -> tuple[int, ...]:
    """Numbers to order by; what is no version number (others wrote the row) comes below all."""
    try:
        return version_numbers(version or "")
    except Rejected:
        return (0, 0, 0, 0)
