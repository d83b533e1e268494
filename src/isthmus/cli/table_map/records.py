"""`isthmus map preview` and `compare`: records as both halves have them, and bringing them into line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.cli.table_map.client import Document, Half, Management, management, path_of
from isthmus.cli.table_map.definition_file import read_definition
from isthmus.cli.table_map.output import Json, Name, print_grid, print_json
from isthmus.errors import Rejected

REPAIRED_AT_ONCE = 100


def preview(
    name: Name,
    record: Annotated[str, Parameter(help="Id of the record, or its integration key, the parts with commas between.")],
    /,
    *,
    source: Annotated[Half, Parameter(help="Half that the record is read from.")] = "finops",
    file: Annotated[Path | None, Parameter(help="A definition that is not saved, as TOML or JSON.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Show what a record would become on the other half, and what stands there. Exit code 1 if it would be refused."""
    with management(data_dir) as api:
        (name,) = api.named(name)
        draft = {} if file is None else {"definition": read_definition(file)}
        found = api.post(f"{path_of(name)}/preview", {"source": source, "record": record, **draft})
    if json:
        print_json(found)
    else:
        why = f": {found['why']}" if found["why"] else ""
        print(f"{found['key']} ({source}): {found['outcome'].replace('_', ' ')}{why}")
        print_grid(
            ("from", "to", "holds", "becomes", "stands there", ""),
            (
                [one[column] for column in ("source", "destination", "given", "becomes", "stands")] + [_remark(one)]
                for one in found["values"]
            ),
        )
    return exit_codes.FAILED if found["outcome"] == "refused" else exit_codes.OK


def _remark(value: Document) -> str:
    if value["fault"] is not None:
        return "no counterpart"
    if value["finds_nothing"]:
        return "names no row"
    return "differs" if value["differs"] else ""


def compare(
    *names: Name,
    all: Annotated[bool, Parameter(negative=(), help="All table maps.")] = False,  # noqa: A002  (the flag's name)
    company: Annotated[tuple[str, ...], Parameter(help="Only this legal entity; may be given several times.")] = (),
    limit: Annotated[int, Parameter(help="Differences of each table map to list; all are counted.")] = 1000,
    repair_from: Annotated[Half | None, Parameter(help="Bring what is listed into line from this half.")] = None,
    delete: Annotated[bool, Parameter(negative=(), help="With --repair-from: delete what that half lacks.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Compare both halves while they are in use, and repair what differs. Exit code 1 when something is left."""
    with management(data_dir) as api:
        if bool(names) == all:
            raise Rejected("name a table map, or give --all." if not names else "--all and names exclude each other.")
        chosen = [one["name"] for one in api.get("/table-maps")] if all else api.named(*names)
        reports = []
        for name in chosen:
            report = api.post(f"{path_of(name)}/compare", {"companies": list(company) or None, "limit": limit})
            if repair_from is not None and report["differences"]:
                report["repaired"] = _repair(api, report, repair_from, delete)
            reports.append(report)
            if not json:
                _print(report)
    if json:
        print_json(reports)
    return exit_codes.FAILED if any(_left(report) for report in reports) else exit_codes.OK


def _repair(api: Management, report: Document, side: Half, delete: bool) -> list[Document]:
    records = [{"finops_id": one["finops_id"], "dataverse_id": one["dataverse_id"]} for one in report["differences"]]
    path = f"{path_of(report['table_map'])}/repair"
    results: list[Document] = []
    for start in range(0, len(records), REPAIRED_AT_ONCE):
        batch = records[start : start + REPAIRED_AT_ONCE]
        results += api.post(path, {"side": side, "records": batch, "delete": delete})
    return results


def _differing(report: Document) -> int:
    return sum(int(report[kind]) for kind in ("missing_in_finops", "missing_in_dataverse", "different", "duplicate"))


def _left(report: Document) -> int:
    repaired = len([one for one in report.get("repaired", ()) if one["outcome"] != "refused" and not one["left"]])
    return _differing(report) - repaired


def _print(report: Document) -> None:
    print(
        f"{report['table_map']}: {report['equal']:,} equal, {report['different']:,} different, "
        f"{report['missing_in_finops']:,} missing in F&O, {report['missing_in_dataverse']:,} missing in Dataverse"
        + (f", {report['duplicate']:,} duplicate" if report["duplicate"] else ""),
    )
    rows = []
    for difference in report["differences"]:
        key = difference["key"]
        for value in difference["values"] or [None]:
            what = "" if value is None else f"{value['field'] or ''} {value['arrow']} {value['column'] or ''}"
            sides = ("", "") if value is None else (value["finops"], value["dataverse"])
            rows.append((difference["kind"].replace("_", " "), key, difference["company"], what, *sides))
    if rows:
        print_grid(("", "record", "company", "what", "F&O", "Dataverse"), rows)
    for one in report.get("repaired", ()):
        if one["outcome"] == "refused" or one["message"]:
            print(f"  {one['outcome']}: {one['message']} ({one['code']})")
    if "repaired" in report:
        print(f"  {_differing(report) - _left(report)} of {_differing(report)} repaired.")
