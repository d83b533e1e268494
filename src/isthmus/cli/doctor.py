"""`isthmus doctor`: look into the databases of an environment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from isthmus import config
from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.errors import Rejected

if TYPE_CHECKING:
    from rich.console import Console

    from isthmus.dual_write.findings import Finding
    from isthmus.dual_write.why import Explanation
    from isthmus.environments.doctor import Report

WILL = {
    "committed": "will be committed: the decision stands on the origin",
    "aborted": "will be rolled back: recovery has fenced it",
    "unknown": "its origin does not answer: will be settled when it does",
    None: "no decision yet: will be fenced and rolled back, unless its coordinator commits first",
}
STYLES = {"error": "red", "warning": "yellow", "info": "dim"}
OUTCOMES = {"ok": "[green]ok[/green]", "stops": "[red]stops[/red]", "note": "[yellow]note[/yellow]"}


def doctor(
    *,
    table_map: Annotated[str | None, Parameter(name="--map", help="One table map, with all there is to know.")] = None,
    record: Annotated[
        str | None, Parameter(help="One of its records, by id or key: why it does or doesn't flow.")
    ] = None,
    half: Annotated[Literal["dataverse", "finops"], Parameter(help="The half that the record is on.")] = "finops",
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object, for scripts.")] = False,
    data_dir: DataDir = None,
) -> int:
    """Look for what is in doubt and for what keeps changes from flowing. Exit code 1 when something needs a person."""
    from isthmus.environments.doctor import examine

    if record is not None and table_map is None:
        raise Rejected("--record needs --map: the table map that the record belongs to.")
    settings = config.load({"data_dir": data_dir})
    report = asyncio.run(examine(settings, table_map=table_map, record=record, half=half))
    if json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        _print(report, is_detailed=table_map is not None)
    return exit_codes.OK if report.is_sound else exit_codes.FAILED


def _print(report: Report, *, is_detailed: bool) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    prepared = ", ".join(f"{half} {value}" for half, value in report.max_prepared_transactions.items())
    console.print(f"Link {report.link}; {report.table_maps} table maps, mode {report.mode}.")
    console.print(f"max_prepared_transactions: {prepared}.")
    _print_in_doubt(console, report)
    shown = [finding for finding in report.findings if is_detailed or finding.level != "info"]
    for finding in shown:
        _print_finding(console, finding, is_detailed=is_detailed)
    counts = {level: sum(finding.level == level for finding in report.findings) for level in STYLES}
    found = ", ".join(
        f"{count} {level}{'' if level == 'info' or count == 1 else 's'}" for level, count in counts.items()
    )
    hint = "" if is_detailed or not counts["info"] else " (--map NAME shows everything about one table map)"
    console.print(f"Findings: {found}{hint}.", markup=False)
    if report.record is not None:
        _print_explanation(console, report.record)


def _print_in_doubt(console: Console, report: Report) -> None:
    from rich.table import Table as Grid

    if not report.in_doubt:
        console.print("No prepared transactions: no save is in doubt.")
        return
    grid = Grid("prepared on", "age", "origin", "what will become of it", "gid")
    for item in report.in_doubt:
        grid.add_row(item.half, f"{item.age:.1f} s", item.origin, WILL[item.decision], item.gid)
    console.print(grid)


def _print_finding(console: Console, finding: Finding, *, is_detailed: bool) -> None:
    from rich.text import Text

    where = f" {finding.table_map}:" if finding.table_map else ""
    console.print(
        Text.assemble((f"{finding.level:7} {finding.code}", STYLES[finding.level]), f"{where} {finding.message}")
    )
    console.print(f"        {finding.advice}", markup=False)
    for name, value in finding.details.items() if is_detailed else ():
        console.print(f"        {name}: {value}", markup=False)


def _print_explanation(console: Console, explanation: Explanation) -> None:
    from rich.text import Text

    console.print(Text(f"\n{explanation.summary}", "bold"))
    for condition in explanation.conditions:
        console.print(Text.from_markup(f"  {OUTCOMES[condition.outcome]} {condition.name}: ").append(condition.message))
        if condition.advice:
            console.print(f"       {condition.advice}", markup=False)
