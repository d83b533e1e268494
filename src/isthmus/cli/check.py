"""`isthmus check`: hold the definitions against each other."""

from __future__ import annotations

from isthmus.cli import exit_codes


def check() -> int:
    """Load all tables, entities and table maps, cross-check them, and print the faults and the counts."""
    from isthmus import solutions
    from isthmus.dual_write.calculated import LANGUAGES
    from isthmus.metadata.check import report

    outcome = report(solutions.catalog(), LANGUAGES)
    print(outcome.text)
    return exit_codes.FAILED if outcome.faults else exit_codes.OK
