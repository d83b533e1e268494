"""`isthmus activity`: what was done to table maps, by whom, and what went wrong."""

from __future__ import annotations

import json as json_library
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.cli.table_map.client import Document, management
from isthmus.cli.table_map.output import print_grid
from isthmus.errors import Rejected


def activity(
    *,
    table_map: Annotated[str | None, Parameter(name="--map", help="Name of one table map, or a part of it.")] = None,
    kind: Annotated[tuple[str, ...], Parameter(help="Only entries of this kind; may be given several times.")] = (),
    code: Annotated[str | None, Parameter(help="Only errors with this code.")] = None,
    key: Annotated[str | None, Parameter(help="Only the record with this key, commas between its parts.")] = None,
    since: Annotated[str | None, Parameter(help="Only from this time on, such as 2026-05-01T08:00.")] = None,
    until: Annotated[str | None, Parameter(help="Only before this time.")] = None,
    open: Annotated[  # noqa: A002  (the flag's name)
        bool, Parameter(negative=(), help="Leave out errors that are settled.")
    ] = False,
    group: Annotated[bool, Parameter(negative=(), help="Group by cause, the most frequent first.")] = False,
    limit: Annotated[int, Parameter(help="Entries to show, newest first, or causes.")] = 20,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object a line, for scripts.")] = False,
    data_dir: DataDir = None,
) -> int:
    """Show entries of the activity log, the newest first; all conditions that are given hold."""
    with management(data_dir) as api:
        query = {
            "table_map": None if table_map is None else api.named(table_map)[0],
            "kind": list(kind) or None,
            "code": code,
            "key": key,
            "since": _time("--since", since),
            "until": _time("--until", until),
            "open": True if open else None,
        }
        if group:
            found = api.get("/activity/groups", **query, limit=limit)
        else:
            found = api.all_pages("/activity", limit, **query)
    if json:
        for one in found:
            print(json_library.dumps(one))
        return exit_codes.OK
    if not found:
        print("The activity log has no such entry.")
    elif group:
        _print_groups(found)
    else:
        for entry in found:
            _print(entry)
    return exit_codes.OK


def _time(option: str, text: str | None) -> str | None:
    """A time as the API takes it; one without a zone is local."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except ValueError:
        raise Rejected(f"{option} is '{text}', which is no time: write it as 2026-05-01 or 2026-05-01T08:00.") from None


def _print(entry: Document) -> None:
    when = entry["at"][:19].replace("T", " ")
    facts = (when, entry["kind"], entry["table_map"] or "-", entry["who"] or entry["principal"], entry["record_key"])
    print("  ".join(fact for fact in facts if fact))
    if entry["code"]:
        began = f"began in {entry['origin']}, " if entry["origin"] else ""
        by = f" by {entry['refused_by']}" if entry["refused_by"] else ""
        print(f"  {began}refused{by} ({entry['code']})")
    print(f"  {entry['message']}")


def _print_groups(groups: list[Document]) -> None:
    print_grid(
        ("count", "open", "last", "code", "cause", "table maps"),
        (
            (
                one["count"],
                one["open"],
                one["last_at"][:19].replace("T", " "),
                one["code"],
                one["cause"],
                "; ".join(one["table_maps"]),
            )
            for one in groups
        ),
    )
