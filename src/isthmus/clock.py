"""The one place that reads the time: wall time for what people read, monotonic time for every wait and age."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The current instant in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that never jump; the only time that waits, ages and time-outs may use."""
    return time.monotonic()
