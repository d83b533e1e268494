"""`isthmus map errors` and `retry`: what was refused, and sending it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.cli.table_map.client import HALVES, Document, Management, management, path_of
from isthmus.cli.table_map.output import Json, Name, print_grid, print_json

LIVE = ("live_sync_error", "half_away")


def errors(
    name: Name | None = None,
    /,
    *,
    limit: Annotated[int, Parameter(help="Errors of each kind to show.")] = 20,
    csv: Annotated[Path | None, Parameter(help="Write the records that initial sync refused to this file.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Show what was refused and not settled yet, of one table map or of all. Exit code 1 when there is any."""
    with management(data_dir) as api:
        if name is not None:
            (name,) = api.named(name)
        if csv is not None:
            csv.write_text(api.text("/refused-records.csv", table_map=name), encoding="utf-8")
        found = _errors(api, name, limit)
    if json:
        print_json(found)
    else:
        _print(found)
    return exit_codes.FAILED if any(found.values()) else exit_codes.OK


def retry(name: Name, /, *, json: Json = False, data_dir: DataDir = None) -> int:
    """Send again what live sync and catch-up refused of a table map. For initial sync see run --errors-only.

    Exit code 1 when something is refused again.
    """
    with management(data_dir) as api:
        (name,) = api.named(name)
        entries = [entry for kind in LIVE for entry in _live(api, name, kind, None)]
        ids = [entry["id"] for entry in entries if entry["records"]]
        outcomes = api.post("/activity/retry", {"entries": ids}) if ids else []
        count = sum(api.post(f"{path_of(name)}/queue/retry", {"half": half})["count"] for half in HALVES)
    refused = [outcome for outcome in outcomes if outcome["result"] != "done"]
    if json:
        print_json({"live_sync": outcomes, "queued_changes": count})
        return exit_codes.FAILED if refused else exit_codes.OK
    for outcome in refused:
        print(f"{outcome['record_key'] or ''}: {outcome['message']} ({outcome['code']})")
    print(
        f"{len(outcomes) - len(refused)} of {len(outcomes)} refused saves were sent again; {count} queued changes are "
        "tried again."
    )
    return exit_codes.FAILED if refused else exit_codes.OK


def _errors(api: Management, name: str | None, limit: int) -> Document:
    """Errors by where they stand: refused live saves, refused queued changes, refused records of initial sync."""
    names = [name] if name else [one["name"] for one in api.get("/table-maps") if one["failed"]]
    return {
        "live_sync": [entry for kind in LIVE for entry in _live(api, name, kind, limit)],
        "queued_changes": [
            change
            for one in names
            for half in HALVES
            for change in api.all_pages(f"{path_of(one)}/queue", limit, half=half, status="failed")
        ],
        "initial_sync": [
            record for half in HALVES for record in api.all_pages("/refused-records", limit, half=half, table_map=name)
        ],
    }


def _live(api: Management, name: str | None, kind: str, limit: int | None) -> list[Document]:
    return api.all_pages("/activity", limit, table_map=name, kind=kind, open=True)


def _print(found: Document) -> None:
    headings = {
        "live_sync": "Saves that live sync refused",
        "queued_changes": "Queued changes that were refused",
        "initial_sync": "Records that initial sync refused",
    }
    for part, heading in headings.items():
        if found[part]:
            print(f"{heading}")
            columns = ("table map", "record", "code", "message")
            print_grid(
                columns,
                ([one["table_map"], one["record_key"], one["code"], one["message"]] for one in found[part]),
            )
    if not any(found.values()):
        print("Nothing is refused.")
