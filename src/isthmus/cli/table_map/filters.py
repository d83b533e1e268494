"""`isthmus map filter`: which records a filter lets pass now, and why it does or doesn't let one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.cli.table_map.client import HALVES, Document, Half, management, path_of
from isthmus.cli.table_map.definition_file import read_definition
from isthmus.cli.table_map.output import Json, Name, print_grid, print_json
from isthmus.errors import Rejected


def try_filter(
    name: Name,
    /,
    *,
    half: Annotated[Half | None, Parameter(help="Only the records of this half.")] = None,
    explain: Annotated[
        str | None, Parameter(help="Id or integration key of a record of --half: each condition asked of it.")
    ] = None,
    file: Annotated[Path | None, Parameter(help="A definition that is not saved, as TOML or JSON.")] = None,
    finops_filter: Annotated[str | None, Parameter(help="A filter of F&O records that is not saved.")] = None,
    dataverse_filter: Annotated[str | None, Parameter(help="A filter of Dataverse rows that is not saved.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Try the filters of a table map: how many records of each half pass now. Exit code 1 if --explain's doesn't."""
    if explain is not None and half is None:
        raise Rejected("--explain needs --half: the half that the record is on.")
    filters = {"finops_filter": finops_filter, "dataverse_filter": dataverse_filter}
    given = {key: value for key, value in filters.items() if value is not None}
    draft: Document = {"edits": [{"edit": "set", **given}]} if given else {}
    if file is not None:
        draft["definition"] = read_definition(file)
    with management(data_dir) as api:
        (name,) = api.named(name)
        path = f"{path_of(name)}/filter"
        if explain is not None:
            explained = api.post(f"{path}/explain", {**draft, "half": half, "record": explain})
            _print_explained(explained, json)
            return exit_codes.OK if explained["holds"] else exit_codes.FAILED
        found = [api.post(path, {**draft, "half": one}) for one in ([half] if half else HALVES)]
    if json:
        print_json(found)
        return exit_codes.OK
    for one in found:
        print(f"{one['half']}: {one['passes']:,} of {one['records']:,} records pass {one['filter'] or '(no filter)'}")
        shown = [("passes", each) for each in one["passing"]] + [("doesn't", each) for each in one["failing"]]
        print_grid(("", "record", "id"), ((outcome, each["key"], each["id"]) for outcome, each in shown))
    return exit_codes.OK


def _print_explained(explained: Document, json: bool) -> None:
    if json:
        print_json(explained)
        return
    for depth, part in _parts(explained, 0):
        values = ", ".join(f"{field} is {_shown(value)}" for field, value in part["values"].items())
        remarks = "; ".join(remark for remark in (values, part["note"]) if remark)
        mark = "passes " if part["holds"] else "doesn't"
        print(f"{mark}  {'  ' * depth}{part['text']}{f'  ({remarks})' if remarks else ''}".rstrip())


def _parts(explained: Document, depth: int) -> list[tuple[int, Document]]:
    return [(depth, explained), *(found for part in explained["parts"] for found in _parts(part, depth + 1))]


def _shown(value: str | None) -> str:
    return "null" if value is None else f"'{value}'"
