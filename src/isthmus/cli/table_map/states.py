"""`isthmus map plan`, `run`, `pause`, `resume` and `stop`: take table maps from one state to another."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.cli.table_map.client import Document, Management, management
from isthmus.cli.table_map.output import Json, Name, follow, print_grid, print_json
from isthmus.errors import Rejected

Master = Annotated[
    Literal["dataverse", "finops", "newest"],
    Parameter(help="Half whose values win where both have the record; newest: the record changed last."),
]
Company = Annotated[
    tuple[str, ...], Parameter(name="--company", help="Only this legal entity; may be given several times.")
]
All = Annotated[bool, Parameter(negative=(), help="All table maps in a state that the action begins in.")]
Alone = Annotated[bool, Parameter(negative=(), help="Only those named, without those that their lookups need.")]
WithDependents = Annotated[bool, Parameter(negative=(), help="Also the running table maps that need those named.")]
NoWait = Annotated[bool, Parameter(negative=(), help="Return at once; isthmus map list shows what becomes of it.")]


def plan(
    *names: Name,
    all: All = False,  # noqa: A002  (the flag's name)
    alone: Alone = False,
    master: Master = "dataverse",
    company: Company = (),
    skip_initial_sync: Annotated[bool, Parameter(negative=(), help="Go live without copying records.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Show what a run would do: table maps in order, rows on each side, what would be inserted, updated, refused."""
    with management(data_dir) as api:
        body = _run_body(api, names, all, alone, master, company, skip_initial_sync)
        found = api.post("/plan", body)
    if json:
        print_json(found)
        return exit_codes.OK
    _print_plan(found)
    return exit_codes.OK


def run(
    *names: Name,
    all: All = False,  # noqa: A002  (the flag's name)
    alone: Alone = False,
    master: Master = "dataverse",
    company: Company = (),
    skip_initial_sync: Annotated[bool, Parameter(negative=(), help="Go live without copying records.")] = False,
    with_errors: Annotated[bool, Parameter(negative=(), help="Go live even if some records were refused.")] = False,
    errors_only: Annotated[bool, Parameter(negative=(), help="Copy only what the last run refused.")] = False,
    no_wait: NoWait = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Bring table maps live: copy what one half lacks, then deliver changes. Exit code 1 if records are refused."""
    with management(data_dir) as api:
        body = _run_body(api, names, all, alone, master, company, skip_initial_sync)
        body |= {"run_with_errors": with_errors, "errors_only": errors_only}
        return _submitted(api, api.post("/run", body), no_wait, json)


def pause(
    *names: Name,
    all: All = False,  # noqa: A002  (the flag's name)
    with_dependents: WithDependents = False,
    no_wait: NoWait = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Pause running table maps: changes wait in a queue, in the order they were made."""
    with management(data_dir) as api:
        body = {"table_maps": _named(api, names, all, ("running",)), "dependents": with_dependents}
        body, left = _offered(api, "pause", body, json)
        return _submitted(api, api.post("/pause", body), no_wait, json, {"dependents": left})


def resume(
    *names: Name,
    all: All = False,  # noqa: A002  (the flag's name)
    live: Annotated[
        Literal["after", "keep", "discard"],
        Parameter(help="Go live after the queue is delivered; at once, keeping it; at once, discarding it."),
    ] = "after",
    master: Annotated[
        Literal["dataverse", "finops"],
        Parameter(help="Half whose value wins where both halves changed the same one meanwhile."),
    ] = "finops",
    no_wait: NoWait = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Resume paused table maps: deliver what waits, then go live."""
    with management(data_dir) as api:
        body = {"table_maps": _named(api, names, all, ("paused",)), "live": live, "master": master}
        return _submitted(api, api.post("/resume", body), no_wait, json)


def stop(
    *names: Name,
    all: All = False,  # noqa: A002  (the flag's name)
    discard_queue: Annotated[bool, Parameter(negative=(), help="Give up changes that wait; they stay listed.")] = False,
    with_dependents: WithDependents = False,
    no_wait: NoWait = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Stop table maps: changes are not delivered any more, and not kept."""
    with management(data_dir) as api:
        named = _named(api, names, all, ("running", "paused"))
        body = {"table_maps": named, "discard_queue": discard_queue, "dependents": with_dependents}
        body, left = _offered(api, "stop", body, json)
        return _submitted(api, api.post("/stop", body), no_wait, json, {"dependents": left})


def _run_body(
    api: Management,
    names: tuple[str, ...],
    everything: bool,
    alone: bool,
    master: str,
    companies: tuple[str, ...],
    skip_initial_sync: bool,
) -> Document:
    return {
        "table_maps": _named(api, names, everything, ("not_running",)),
        "needed": not alone,
        **({"conflicts": "newest"} if master == "newest" else {"master": master}),
        "companies": list(companies) or None,
        "skip_initial_sync": skip_initial_sync,
    }


def _named(api: Management, names: tuple[str, ...], everything: bool, states: tuple[str, ...]) -> list[str]:
    if everything and names:
        raise Rejected("--all and names exclude each other: give one of them.")
    if everything:
        found = [one["name"] for one in api.get("/table-maps") if one["state"] in states]
        if not found:
            raise Rejected(f"no table map is {' or '.join(state.replace('_', ' ') for state in states)}.")
        return found
    if not names:
        raise Rejected("name a table map, or give --all.")
    return api.named(*names)


def _offered(api: Management, action: str, body: Document, json: bool) -> tuple[Document, list[str]]:
    """The body with what a person at a terminal answers, and the running table maps in need of those named that are
    left as they are."""
    if body["dependents"]:
        return body, []
    plan = api.post("/plan-pause", {"table_maps": body["table_maps"]})
    left = [one["table_map"] for one in plan["dependents"]]
    if not left:
        return body, []
    print(f"isthmus: running table maps that depend on this ({len(left)}): {'; '.join(left)}.", file=sys.stderr)
    if not json and sys.stdin.isatty() and sys.stderr.isatty():
        print(f"{action.capitalize()} them too? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().casefold() in ("y", "yes"):
            return body | {"dependents": True}, []
    else:
        print("isthmus: they stay as they are; --with-dependents takes them along.", file=sys.stderr)
    return body, left


def _submitted(api: Management, request: Document, no_wait: bool, json: bool, more: Document | None = None) -> int:
    if not no_wait:
        return follow(api, request, json=json, more=more)
    if json:
        print_json(request | (more or {}))
    else:
        print(f"Request {request['id']} was submitted: {request['action']} of {len(request['table_maps'])}.")
    return exit_codes.OK


def _print_plan(found: Document) -> None:
    rows = []
    for planned in found["table_maps"]:
        for counts in planned["companies"]:
            rows.append(
                (
                    planned["place"],
                    planned["table_map"],
                    "added" if planned["added"] else "",
                    " then ".join(planned["sources"]) or "skipped",
                    counts["company"],
                    *(counts["records"].get(half, 0) for half in ("finops", "dataverse")),
                    _written(counts["to_dataverse"]),
                    _written(counts["to_finops"]),
                    counts["conflicts"] or "",
                    counts["unchanged"] or "",
                )
            )
    columns = (
        "",
        "table map",
        "",
        "from",
        "company",
        "F&O",
        "Dataverse",
        "to Dataverse",
        "to F&O",
        "conflicts",
        "same",
    )
    print_grid(columns, rows)
    for missing in found["missing"]:
        print(
            f"Not running and not in the plan: {missing['needs']}, which {missing['table_map']} needs for "
            f"{missing['path']}.",
        )
    for cycle in found["cycles"]:
        print(f"Set after all rows stand: references between {', '.join(cycle)}.")


def _written(counts: Document) -> str:
    parts = {"insert": "new", "update": "changed", "refused": "refused"}
    return ", ".join(f"{counts[name]:,} {word}" for name, word in parts.items() if counts[name])
