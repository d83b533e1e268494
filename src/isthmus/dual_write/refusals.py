"""Refusals of initial sync: why a record was not written, in the words that its administrator reads."""

from __future__ import annotations

from typing import Any

from isthmus.dual_write.leg import Leg, Projected
from isthmus.dual_write.no_counterpart import no_counterpart
from isthmus.dual_write.refused_records import Refusal

INCOMPLETE = "lookup_not_found"


def refusal(record: Projected, **reason: Any) -> Refusal:
    """The refusal of a record; `reason` are the other fields of Refusal."""
    return Refusal(
        record_id=str(record.id),
        record_key=record.key,
        record=record.values,
        **reason,
    )


def without_counterpart(leg: Leg, record: Projected) -> Refusal:
    """The refusal of a record with a value that its value map does not know, or that fits nowhere."""
    found = no_counterpart(leg.table_map, record.faults[0])
    return refusal(
        record,
        code=found.code,
        message=f"{found.sentence[0].upper()}{found.sentence[1:]} Then run the errors again.",
        columns=[found.field],
        value=found.value,
        missing_parent=None,
        final=True,
    )


def without_key(leg: Leg, record: Projected) -> Refusal:
    """The refusal of a record that can't be told from others."""
    return refusal(
        record,
        code="integration_key_missing",
        message=f"A part of the integration key ({', '.join(leg.table_map.integration_key)}) has no value: the record "
        "can't be told from others. Fill it in, then run the errors again.",
        columns=sorted(leg.key_names),
        value=None,
        missing_parent=None,
        final=True,
    )


def names_without_key(record: Projected, fields: list[str], *, written: bool) -> Refusal:
    """The refusal of values that a lookup leads to whose row has no key yet; `written`: the rest can be written."""
    parent = str((record.unkeyed or {})[fields[0]])
    return refusal(
        record,
        code=INCOMPLETE,
        message=f"Field '{fields[0]}' names a row that has no key yet ({parent}). Run the table map of that row first, "
        "or give it its key, then run the errors again.",
        columns=fields,
        value=parent,
        missing_parent=parent,
        written=written,
    )


def missing_lookup(leg: Leg, record: Projected, columns: list[str], *, is_key: bool) -> Refusal:
    """The refusal of lookups that find no row; `is_key`: without them the row itself can't be written."""
    parts = {path: value for path, value in record.values.items() if head(path) == columns[0]}
    sought = ", ".join(f"{path} = {value}" for path, value in parts.items()) or f"company = {record.company}"
    values = ", ".join(str(value) for value in parts.values()) or record.company
    return refusal(
        record,
        code=INCOMPLETE,
        message=f"Column '{columns[0]}' of {leg.table_map.table} looks up {sought}: no such row exists. Create or "
        "carry that row, then run the errors again.",
        columns=columns,
        value=values,
        missing_parent=sought,
        written=not is_key,
    )


def head(path: str) -> str:
    """The column that a path begins at, as it is named in the catalog."""
    return path.partition(".")[0].lower()
