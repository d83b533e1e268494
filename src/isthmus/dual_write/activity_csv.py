"""The activity log as CSV, page by page, for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator

import msgspec

from isthmus.dual_write.activity import EVERYTHING, MOST_ENTRIES, ActivityFilter, ActivityLog, Entry

COLUMNS = (
    "id",
    "at",
    "kind",
    "result",
    "table_map",
    "origin",
    "refused_by",
    "record_key",
    "operation",
    "field",
    "code",
    "message",
    "partner_message",
    "principal",
    "correlation_id",
    "about",
    "details",
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula: such text gets an apostrophe in front."""


async def activity_csv(activity: ActivityLog, which: ActivityFilter = EVERYTHING) -> AsyncIterator[str]:
    """All entries that `which` asks for, newest first: a line of headings, then pieces of many lines each."""
    yield _lines([list(COLUMNS)])
    before: int | None = None
    while entries := await activity.entries(which, before=before, limit=MOST_ENTRIES):
        yield _lines([[_text(entry, name) for name in COLUMNS] for entry in entries])
        before = entries[-1].id


def _lines(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _text(entry: Entry, name: str) -> str:
    value = getattr(entry, name)
    if value is None:
        return ""
    if name == "at":
        return str(value.isoformat())
    if name == "details":
        return msgspec.json.encode(value).decode() if value else ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else str(value)
