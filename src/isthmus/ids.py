"""Identifiers that Isthmus gives out."""

from __future__ import annotations

import os
import time
import uuid


def new_row_id() -> uuid.UUID:
    """A time-ordered GUID (version 7), so that the primary key index of a table grows at one end."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (2**48 - 1)) << 80
    value |= 0x7 << 76
    value |= ((random >> 68) & 0xFFF) << 64
    value |= 0b10 << 62
    value |= random & (2**62 - 1)
    return uuid.UUID(int=value)


def new_gid(link: str, origin: str) -> str:
    """The global identifier of one two-sided transaction: `isth:<link>:<origin half>:<day>:<uuid hex>`.

    It stays under PostgreSQL's limit of 200 bytes; origin and day stand in it so that recovery knows, from the
    prepared transaction's name alone, where its decision is recorded and when it was begun.
    """
    day = time.time_ns() // 86_400_000_000_000
    return f"isth:{link}:{origin}:{day}:{uuid.uuid4().hex}"
