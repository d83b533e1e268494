"""`isthmus check`: hold the definitions against each other."""

from __future__ import annotations


def check() -> int:
    """Load all tables, entities and table maps, cross-check them, and print the faults and the counts."""
    from isthmus.metadata.check import main_report

    return main_report()
