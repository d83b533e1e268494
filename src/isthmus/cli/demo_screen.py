"""What the demo prints: each step with its time, and the customer with both halves side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from isthmus.cli.demo_customer import View

LABEL_WIDTH = 17
VALUE_WIDTH = 23
"""Together they fit a terminal of 80 columns."""


class Screen:
    """Prints to standard output; plain text when that is not a terminal."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)

    def heading(self, text: str) -> None:
        """What comes next, in bold after an empty line."""
        self.console.print(f"\n{text}", style="bold", markup=False, soft_wrap=True)

    def step(self, text: str, seconds: float) -> None:
        """One thing that was done and how long its caller waited."""
        line = Text(f"  {text}  ").append(f"{seconds * 1000:,.0f} ms", style="cyan")
        self.console.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """An indented line."""
        self.console.print(f"  {text}", markup=False, soft_wrap=True)

    def view(self, view: View, *, before: View | None = None, only_changed: bool = False) -> None:
        """Both halves side by side; values that differ from `before` are bold."""
        table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=True)
        table.add_column("", min_width=LABEL_WIDTH)
        table.add_column("Dataverse account", min_width=VALUE_WIDTH)
        table.add_column("F&O CustomersV3", min_width=VALUE_WIDTH)
        table.add_column("", min_width=len("differ"))
        for number, line in enumerate(view):
            changed = before is not None and line != before[number]
            if only_changed and not changed and line.equal:
                continue
            style = "bold" if changed else None
            verdict = "equal" if line.equal else "[red]differ[/red]"
            table.add_row(line.label, _shown(line.dataverse), _shown(line.finops), verdict, style=style)
        self.console.print(table)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.2f}" if isinstance(value, int | float) else str(value)
