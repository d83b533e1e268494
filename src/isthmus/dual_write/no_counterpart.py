"""Values that have no counterpart on the other half: what a projection calls a fault, in words."""

from __future__ import annotations

import msgspec

from isthmus.metadata.table_map import TableMap


class NoCounterpart(msgspec.Struct, frozen=True):
    """`field` is the field, or the path, whose `value` can't cross; `sentence` says why, and what to do."""

    code: str
    field: str
    value: str
    sentence: str


def no_counterpart(table_map: TableMap, fault: str) -> NoCounterpart:
    """What a fault `FIELD=value` of a projection of this table map says."""
    field, _, value = fault.partition("=")
    ends = ((row, (row.finops or "").lower(), (row.dataverse or "").lower()) for row in table_map.rows)
    row = next((row for row, *names in ends if field.lower() in names and row.transform.value_map is not None), None)
    if row is not None:
        sentence = (
            f"the value map of '{field}' has no entry for '{value}'. Add one to the map, or use a value it knows."
        )
        return NoCounterpart("value_map_entry_missing", field, value, sentence)
    sentence = (
        f"what the expression for '{field}' gives, {value}, is outside of what its destination holds. Correct the "
        "expression, or the values that it reads."
    )
    return NoCounterpart("expression_out_of_range", field, value, sentence)
