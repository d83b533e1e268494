"""`isthmus map list`, `show` and `graph`: what there is, and what depends on what."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.cli.table_map.client import Document, management, path_of
from isthmus.cli.table_map.output import Json, Name, print_grid, print_json

ARROWS = {"both": "<->", "to_dataverse": "->", "to_finops": "<-", "none": ""}
HALVES = {"finops": "F&O", "dataverse": "Dataverse"}
AWAY = "The {} half does not answer: what waits there is not counted."


def list_table_maps(
    *,
    state: Annotated[
        Literal["not_running", "initializing", "running", "paused", "resuming"] | None,
        Parameter(help="Only table maps in this state."),
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """List all table maps with their states, versions and queues, parents first."""
    with management(data_dir) as api:
        found = [one for one in api.get("/table-maps") if state in (None, one["state"])]
    if json:
        print_json(found)
        return exit_codes.OK
    for half in found[0]["halves_away"] if found else ():
        print(AWAY.format(HALVES[half]))
    print_grid(
        ("table map", "direction", "state", "version", "publisher", "waiting", "failed", "last action"),
        (
            (
                one["name"],
                ARROWS[one["direction"]],
                _state(one),
                one["version"],
                one["publisher"],
                one["waiting"] or "",
                one["failed"] or "",
                _last(one["last_request"]),
            )
            for one in found
        ),
    )
    return exit_codes.OK


def show(name: Name, /, *, json: Json = False, data_dir: DataDir = None) -> int:
    """Show one table map: state, field mappings, filters, integration key, and the table maps around it."""
    with management(data_dir) as api:
        (name,) = api.named(name)
        found = api.get(path_of(name))
    if json:
        print_json(found)
        return exit_codes.OK
    summary, definition = found["summary"], found["definition"]
    print(f"{name}")
    facts = {
        "entity and table": f"{definition['entity']} {ARROWS[summary['direction']]} {definition['table']}",
        "state": f"{_state(summary)}, since {summary['since']}" if summary["since"] else _state(summary),
        "version": f"{definition['version']} of {definition['publisher']}",
        "integration key": ", ".join(definition["integration_key"]),
        "F&O filter": definition["finops_filter"],
        "Dataverse filter": definition["dataverse_filter"],
        "in the queue": f"{summary['waiting']} waiting, {summary['failed']} failed",
        "while a half is away": "pauses itself" if summary["pauses_itself"] else "saves are refused",
        "away": " ".join(AWAY.format(HALVES[half]) for half in summary["halves_away"]),
        "needs": ", ".join(found["needs"]),
        "needed by": ", ".join(found["needed_by"]),
    }
    for label, value in facts.items():
        if value:
            print(f"  {label:<22} {value}")
    rows = ((row["finops"], row["arrow"], row["dataverse"], _transform(row["transform"])) for row in definition["rows"])
    print_grid(("F&O field", "", "Dataverse column", "transform"), rows)
    return exit_codes.OK


def graph(*, json: Json = False, data_dir: DataDir = None) -> int:
    """Show what depends on what: table maps in enable order with those that their lookups lead to."""
    with management(data_dir) as api:
        found = api.get("/graph")
    if json:
        print_json(found)
        return exit_codes.OK
    needs: dict[str, dict[str, None]] = {}
    for edge in found["edges"]:
        needs.setdefault(edge["table_map"], {})[edge["needs"]] = None
    print_grid(
        ("order", "table map", "state", "cycle", "needs"),
        (
            (node["order"] + 1, name, _words(node["state"]), _number(node["cycle"]), ", ".join(needs.get(name, ())))
            for node in found["nodes"]
            for name in [node["table_map"]]
        ),
    )
    for number, cycle in enumerate(found["cycles"], 1):
        print(f"Cycle {number}: {', '.join(cycle)}")
    for own in found["self_references"]:
        print(f"Refers to itself: {own['table_map']} by {own['path']}")
    return exit_codes.OK


def _state(summary: Document) -> str:
    reason = summary["reason"]
    return f"{_words(summary['state'])} ({_words(reason)})" if reason else _words(summary["state"])


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(cycle: int | None) -> int | None:
    return None if cycle is None else cycle + 1


def _last(request: Document | None) -> str:
    if request is None:
        return ""
    when = (request["ended_at"] or request["requested_at"])[:19].replace("T", " ")
    return f"{request['action']}: {request['state']}, {when}"


def _transform(transform: Document) -> str:
    given = {name: value for name, value in transform.items() if value not in (None, False)}
    return ", ".join(f"{_words(name)}: {_value(value)}" for name, value in given.items())


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} = {mapped}" for key, mapped in value.items())
    return str(value)
