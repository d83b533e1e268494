"""How a benchmark reports: a figure beside its floor, measured in the same run on the same machine."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

RUNS = 5
"""Runs of each side; the median counts. The sides take turns, so that a machine that slows down slows both."""


def report(benchmark: str, figure: str, values: Sequence[float], unit: str, floors: Sequence[float] = ()) -> float:
    """Print one line and return the ratio of the medians, value to floor (0 without a floor)."""
    value = statistics.median(values)
    floor = statistics.median(floors) if floors else None
    ratio = value / floor if floor else None
    print(
        json.dumps(
            {
                "benchmark": benchmark,
                "figure": figure,
                "value": round(value, 3),
                "unit": unit,
                "floor": None if floor is None else round(floor, 3),
                "ratio": None if ratio is None else round(ratio, 3),
                "runs": [round(v, 3) for v in values],
            }
        ),
        flush=True,
    )
    return ratio or 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
