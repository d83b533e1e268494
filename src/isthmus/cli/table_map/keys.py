"""`isthmus map key` and `pauses-itself`: what is set for a whole table, and for a table map whatever its version."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.cli.table_map.client import management, path_of
from isthmus.cli.table_map.output import Json, Name, print_grid, print_json


def key(
    name: Name,
    /,
    *columns: Annotated[str, Parameter(help="The columns, or paths of lookups, of another key.")],
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Show the integration key of a table map, or give its Dataverse table another one.

    A key belongs to the table: all its table maps, which must be stopped, get a new version.
    """
    with management(data_dir) as api:
        (name,) = api.named(name)
        definition = api.get(path_of(name))["definition"]
        table = definition["table"]
        saved = api.put(f"/tables/{quote(table, safe='')}/integration-key", {"key": list(columns)}) if columns else []
    found = {"table": table, "key": list(columns) or definition["integration_key"], "saved": saved}
    if json:
        print_json(found)
        return exit_codes.OK
    print(f"{table}: {', '.join(found['key'])}")
    if saved:
        print_grid(("table map", "version"), ((one["table_map"], one["version"]) for one in saved))
    return exit_codes.OK


def pauses_itself(
    name: Name,
    state: Annotated[Literal["on", "off"], Parameter(help="On: it pauses; off: saves are refused.")],
    /,
    *,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Have a table map pause itself while a half is away, and resume itself, instead of refusing saves."""
    with management(data_dir) as api:
        (name,) = api.named(name)
        found = api.put(f"{path_of(name)}/pauses-itself", {"pauses_itself": state == "on"})
    if json:
        print_json(found)
    else:
        what = "it pauses itself" if found["pauses_itself"] else "saves are refused"
        print(f"{found['name']}: while a half is away {what}.")
    return exit_codes.OK
