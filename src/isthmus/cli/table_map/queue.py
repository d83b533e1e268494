"""`isthmus map queue`: changes of a table map that wait, were refused, or were given up."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.cli.table_map.client import HALVES, Half, management, path_of
from isthmus.cli.table_map.output import Json, Name, print_grid, print_json
from isthmus.errors import Rejected


def queue(
    name: Name,
    /,
    *,
    half: Annotated[Half | None, Parameter(help="Only changes made on this half.")] = None,
    status: Annotated[
        tuple[Literal["waiting", "failed", "dismissed"], ...],
        Parameter(help="Only changes in this status (default: waiting and failed)."),
    ] = (),
    key: Annotated[str | None, Parameter(help="Only the record with this integration key, commas between.")] = None,
    limit: Annotated[int, Parameter(help="Changes of each half to show.")] = 100,
    retry: Annotated[tuple[int, ...], Parameter(help="Try the refused change N of --half again.")] = (),
    dismiss: Annotated[tuple[int, ...], Parameter(help="Give the change N of --half up; needs --reason.")] = (),
    reason: Annotated[str | None, Parameter(help="Why changes are given up.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """List the queued changes of a table map in the order they were made; try some again, or give some up."""
    if retry and dismiss:
        raise Rejected("--retry and --dismiss exclude each other: give one of them.")
    if (retry or dismiss) and half is None:
        raise Rejected("--retry and --dismiss need --half: changes are numbered on each half.")
    if dismiss and not reason:
        raise Rejected("--dismiss needs --reason: it stays listed with the change.")
    with management(data_dir) as api:
        (name,) = api.named(name)
        path = f"{path_of(name)}/queue"
        if retry or dismiss:
            body = {"half": half, "ids": list(retry or dismiss)} | ({"reason": reason} if dismiss else {})
            done = api.post(f"{path}/{'dismiss' if dismiss else 'retry'}", body)
            words = "given up" if dismiss else "tried again"
            print_json(done) if json else print(f"{done['count']} queued changes are {words}.")
            return exit_codes.OK
        query = {"status": list(status) or None, "key": key}
        found = [
            change for one in ([half] if half else HALVES) for change in api.all_pages(path, limit, half=one, **query)
        ]
    if json:
        print_json(found)
        return exit_codes.OK
    print_grid(
        ("half", "number", "status", "what", "record", "queued", "code", "message"),
        (
            (
                one["half"],
                one["id"],
                one["status"],
                one["operation"],
                one["record_key"],
                one["queued_at"][:19],
                one["code"],
                one["dismissed_reason"] or one["message"],
            )
            for one in found
        ),
    )
    return exit_codes.OK
