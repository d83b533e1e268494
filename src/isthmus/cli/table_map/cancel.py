"""`isthmus map cancel`: stop long work on table maps."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated
from uuid import UUID

from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.cli.table_map.client import Management, management
from isthmus.cli.table_map.output import Json, follow
from isthmus.errors import Rejected


def cancel(
    request: Annotated[
        str | None, Parameter(help="Id of a request, or a table map that it is about (default: the only one).")
    ] = None,
    /,
    *,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Cancel a run or another request that has not ended: at once while it waits, else where it is safe to stop."""
    with management(data_dir) as api:
        path = f"/requests/{_chosen(api, request)}"
        follow(api, api.post(f"{path}/cancel"), json=json)
        ended = api.get(path)
    return exit_codes.OK if ended["state"] == "cancelled" else exit_codes.FAILED


def _chosen(api: Management, request: str | None) -> str:
    """The id of the request that is meant. Rejected when none is open, or several are."""
    with suppress(ValueError):
        return str(UUID(request or ""))
    name = None if request is None else api.named(request)[0]
    found = api.all_pages("/requests", table_map=name, state=["waiting", "running"])
    if not found:
        raise Rejected("nothing is under way that could be cancelled.")
    if len(found) > 1:
        several = "; ".join(f"{one['id']} ({one['action']} of {len(one['table_maps'])})" for one in found)
        raise Rejected(f"several requests are under way: {several}. Give the id of one.")
    return str(found[0]["id"])
