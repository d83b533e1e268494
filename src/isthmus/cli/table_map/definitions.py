"""`isthmus map versions`, `validate` and `edit`: definitions of table maps, each saved change a version of its own."""

from __future__ import annotations

import json as json_library
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.cli.table_map.client import Document, Management, management, path_of
from isthmus.cli.table_map.definition_file import read_definition
from isthmus.cli.table_map.output import Json, Name, print_grid, print_json
from isthmus.errors import Rejected

Publisher = Annotated[str | None, Parameter(help="Publisher of the version, where several have its number.")]


def versions(
    name: Name,
    /,
    *,
    choose: Annotated[str | None, Parameter(help="Have the stopped table map run in this version.")] = None,
    roll_back: Annotated[bool, Parameter(negative=(), help="Choose the version below the chosen one.")] = False,
    delete: Annotated[str | None, Parameter(help="Delete this version.")] = None,
    diff: Annotated[str | None, Parameter(help="Compare this version with the chosen one.")] = None,
    publisher: Publisher = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """List the versions of a table map, the highest first; choose, compare or delete one."""
    if sum((choose is not None, roll_back, delete is not None, diff is not None)) > 1:
        raise Rejected("--choose, --roll-back, --delete and --diff exclude each other: give one of them.")
    with management(data_dir) as api:
        (name,) = api.named(name)
        path = path_of(name)
        if diff is not None:
            before = _version(api, path, diff, publisher)["id"]
            return _print_differences(api.get(f"{path}/version-differences", before=before), json)
        if choose is not None:
            api.post(f"{path}/versions/{_version(api, path, choose, publisher)['id']}/choose")
        if roll_back:
            api.post(f"{path}/roll-back")
        if delete is not None:
            api.delete(f"{path}/versions/{_version(api, path, delete, publisher)['id']}")
        found = api.get(f"{path}/versions")
    if json:
        print_json(found)
        return exit_codes.OK
    print_grid(
        ("", "version", "publisher", "saved", "by"),
        (
            ("*" if one["is_chosen"] else "", one["version"], one["publisher"], one["saved_at"][:19], one["saved_by"])
            for one in found
        ),
    )
    return exit_codes.OK


def validate(
    name: Name,
    /,
    *,
    version: Annotated[str | None, Parameter(help="Number of a version (default: the chosen one).")] = None,
    publisher: Publisher = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Hold a saved version of a table map against both halves as they are now. Exit code 1 when it has faults."""
    with management(data_dir) as api:
        (name,) = api.named(name)
        path = path_of(name)
        draft = {} if version is None else {"based_on": _version(api, path, version, publisher)["id"]}
        return _print_faults(api.post(f"{path}/validate", draft), json)


def edit(
    name: Name,
    /,
    *,
    file: Annotated[Path | None, Parameter(help="A whole definition, as TOML or JSON.")] = None,
    add: Annotated[
        tuple[str, ...], Parameter(help='Add a field mapping: a JSON list such as \'["NAME", "=", "name"]\'.')
    ] = (),
    change: Annotated[
        tuple[str, ...], Parameter(help='Replace field mapping number N: \'N ["NAME", "=", "name"]\'.')
    ] = (),
    remove: Annotated[tuple[int, ...], Parameter(help="Remove field mapping number N.")] = (),
    finops_filter: Annotated[str | None, Parameter(help="Filter of F&O records; empty for none.")] = None,
    dataverse_filter: Annotated[str | None, Parameter(help="Filter of Dataverse rows; empty for none.")] = None,
    owning_team: Annotated[str | None, Parameter(help="Id of the team that owns new rows of a global table.")] = None,
    new: Annotated[bool, Parameter(negative=(), help="Make a new table map of the file.")] = False,
    delete: Annotated[bool, Parameter(negative=(), help="Delete a table map that was made here.")] = False,
    version: Annotated[str | None, Parameter(help="Number of the version to save (default: the next one).")] = None,
    publisher: Annotated[str | None, Parameter(help="Publisher of the version to save.")] = None,
    check: Annotated[bool, Parameter(negative=(), help="Only say what is wrong with it; save nothing.")] = False,
    no_choose: Annotated[bool, Parameter(negative=(), help="Save the version without running in it.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Change a table map and save it as a version; without any change, print its definition.

    Exit code 1 when the definition has faults.
    """
    edits = [
        *({"edit": "add_row", "row": _row(text)} for text in add),
        *(_change(text) for text in change),
        *({"edit": "remove_row", "row": number} for number in remove),
    ]
    properties = {"finops_filter": finops_filter, "dataverse_filter": dataverse_filter, "owning_team": owning_team}
    given = {key: value for key, value in properties.items() if value is not None}
    if given:
        edits.append({"edit": "set", **given})
    if new and edits:
        raise Rejected("--new makes a table map of --file as it stands: write the changes into the file.")
    if delete and (new or check or file or edits):
        raise Rejected("--delete deletes the whole table map: give it alone.")
    naming = {key: value for key, value in {"version": version, "publisher": publisher}.items() if value is not None}
    with management(data_dir) as api:
        if new:
            definition = {"name": name, **_file(file)}
            made = {"definition": definition} | ({"publisher": publisher} if publisher else {})
            if check:
                return _print_faults(api.post("/validate", made), json)
            return _say(api.post("/table-maps", made), json)
        (name,) = api.named(name)
        if delete:
            api.delete(path_of(name))
            return _say({"table_map": name, "deleted": True}, json)
        draft: Document = {"edits": edits} if file is None else {"definition": read_definition(file), "edits": edits}
        if check:
            return _print_faults(api.post(f"{path_of(name)}/validate", draft), json)
        if file is None and not edits:
            return _print_definition(api.get(f"{path_of(name)}/definition"), json)
        return _say(api.post(f"{path_of(name)}/versions", {**draft, **naming, "choose": not no_choose}), json)


def _version(api: Management, path: str, number: str, publisher: str | None) -> Document:
    found: list[Document] = [
        one for one in api.get(f"{path}/versions") if one["version"] == number and publisher in (None, one["publisher"])
    ]
    if not found:
        raise Rejected(f"there is no version {number}: see isthmus map versions.")
    if len(found) > 1:
        raise Rejected(f"several publishers have a version {number}: {', '.join(one['publisher'] for one in found)}.")
    return found[0]


def _file(file: Path | None) -> Document:
    if file is None:
        raise Rejected("give the definition in --file.")
    return read_definition(file)


def _row(text: str) -> list[Any]:
    try:
        found = json_library.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise Rejected(f"{text!r} is no field mapping: write a JSON list of F&O field, arrow and Dataverse column.")
    return found


def _change(text: str) -> Document:
    number, _, row = text.partition(" ")
    if not number.isdigit():
        raise Rejected(f"{text!r} must begin with the number of a field mapping.")
    return {"edit": "change_row", "row": int(number), "to": _row(row)}


def _say(answer: Document, json: bool) -> int:
    if json:
        print_json(answer)
    elif answer.get("deleted"):
        print(f"{answer['table_map']} was deleted.")
    else:
        print(f"{answer['table_map']}: version {answer['version']} was saved.")
    return exit_codes.OK


def _print_faults(found: Document, json: bool) -> int:
    if json:
        print_json(found)
    else:
        for kind in ("faults", "warnings"):
            for fault in found[kind]:
                place = f"row {fault['row']}: " if fault["row"] is not None else ""
                print(f"{kind[:-1]} {fault['code']}: {place}{fault['field']} {fault['message']}")
        if not found["faults"]:
            print("No faults.")
    return exit_codes.FAILED if found["faults"] else exit_codes.OK


def _print_definition(found: Document, json: bool) -> int:
    if json:
        print_json(found)
        return exit_codes.OK
    from isthmus.metadata.toml import write_document

    print(write_document(found, rows=("rows",), tables=("examples",)))
    return exit_codes.OK


def _print_differences(found: list[Document], json: bool) -> int:
    if json:
        print_json(found)
        return exit_codes.OK
    if not found:
        print("The versions are equal.")
        return exit_codes.OK
    rows = ((one["kind"], one["name"], _shown(one["before"]), _shown(one["after"])) for one in found)
    print_grid(("", "what", "before", "after"), rows)
    return exit_codes.OK


def _shown(value: Any) -> str:
    return "" if value is None else json_library.dumps(value)
