"""`isthmus check`: hold the definitions against each other."""

from __future__ import annotations

from isthmus.cli import exit_codes


def check() -> int:
    """Load all tables, entities and table maps, cross-check them, and print the faults and the counts."""
    from isthmus import solutions
    from isthmus.metadata.check import report
    from isthmus.query.odata import parse_filter_syntax
    from isthmus.query.ranges import parse_range_syntax

    outcome = report(solutions.catalog(), parse_range_syntax, parse_filter_syntax)
    print(outcome.text)
    return exit_codes.FAILED if outcome.faults else exit_codes.OK
