"""How the commands show what the management API answers: JSON for scripts, tables and progress bars for people."""

from __future__ import annotations

import json as json_library
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.table_map.client import Document, Management

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

Json = Annotated[bool, Parameter(negative=(), help="Print JSON, for scripts.")]
Name = Annotated[str, Parameter(help="Name of a table map, or a part of it that fits one only.")]

PIPE_COLUMNS = 240
"""Width of tables that no terminal shows."""


@cache
def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    print(json_library.dumps(document, indent=2))


def print_grid(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; what is None is shown as nothing."""
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        grid.add_row(*(Text("" if value is None else str(value)) for value in row))
    _console().print(grid)


def follow(api: Management, request: Document, *, json: bool, more: Document | None = None) -> int:
    """Show a request until it has ended; exit code 0 when it did what was asked and nothing was refused, else 1.

    `more` goes with its JSON.
    """
    if json:
        *_, found = api.followed(request["id"])
        print_json(found | (more or {}))
    else:
        found = _with_bars(api, request)
        _say_end(found)
    refused = any(part["refused"] for part in found["progress"])
    return exit_codes.OK if found["state"] == "completed" and not refused else exit_codes.FAILED


def _with_bars(api: Management, request: Document) -> Document:
    from rich.progress import BarColumn, Progress, TextColumn

    found, console = request, _console()
    bars: dict[tuple[Any, ...], TaskID] = {}
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        for found in api.followed(request["id"]):
            for part in found["progress"]:
                key = (part["table_map"], part["leg"], part["company"])
                if key not in bars:
                    name = " ".join(str(word) for word in key if word)
                    bars[key] = progress.add_task(name, total=None, count="", speed="")
                progress.update(
                    bars[key],
                    completed=part["done"],
                    total=part["total"],
                    count=_count(part),
                    speed=f"{part['rate']:,.0f}/s" if part["rate"] else "",
                )
    return found


def _count(part: Document) -> str:
    of = f" of {part['total']:,}" if part["total"] is not None else ""
    refused = f", {part['refused']:,} refused" if part["refused"] else ""
    return f"{part['done']:,}{of}{refused}"


def _say_end(request: Document) -> None:
    count = len(request["table_maps"])
    what = request["table_maps"][0] if count == 1 else f"{count} table maps"
    if request["state"] == "completed":
        print(f"{request['action'].capitalize()} of {what}: done.")
    else:
        message = f": {request['message']}" if request["message"] else "."
        print(f"{request['action'].capitalize()} of {what}: {request['state']}{message}")
    if request["progress"]:
        print_grid(
            ("table map", "from", "company", "records", "refused"),
            (
                [part[name] for name in ("table_map", "leg", "company", "done", "refused")]
                for part in request["progress"]
            ),
        )
