"""`isthmus status`: what runs on a data directory."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from isthmus import config
from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.server.state import State, current_state


def status(
    *,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object, for scripts.")] = False,
    data_dir: DataDir = None,
) -> int:
    """Say whether an environment runs, and where."""
    settings = config.load({"data_dir": data_dir})
    state = current_state(settings.data_dir)
    if json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(as_document(state)), indent=2).decode())
    elif state.state == "stopped":
        print(f"stopped ({settings.data_dir})")
    else:
        print(f"{state.state} ({settings.data_dir})")
        print(f"  Dataverse                {state.dataverse_url}")
        print(f"  Finance and operations   {state.finops_url}")
        print(f"  Certificate to trust     {state.ca_file}")
        print(f"  Processes                {' '.join(str(mark.pid) for mark in state.marks)}")
    return exit_codes.OK


def as_document(state: State) -> dict[str, Any]:
    """The JSON object of `isthmus status --json`: addresses are null, and there are no pids, when it is stopped."""
    return {
        "state": state.state,
        "dataverse_url": state.dataverse_url or None,
        "finops_url": state.finops_url or None,
        "base_url": state.base_url or None,
        "http_url": state.http_url or None,
        "ca_file": state.ca_file or None,
        "pids": [mark.pid for mark in state.marks],
        "supervisor_pid": state.supervisor.pid if state.supervisor else None,
        "worker_pids": [mark.pid for mark in state.workers],
    }
