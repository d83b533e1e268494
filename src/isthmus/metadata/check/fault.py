"""What a check of the definitions finds: faults and warnings, and the report they make."""

from __future__ import annotations

import msgspec


class Fault(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One fault of a definition.

    `file` is below the solutions folder; `row` counts the rows of its list (columns, fields, field mappings) from 1;
    `field` is what the row names. `message` says what is wrong and what to do. `code` is a DIPV code where one is
    documented for it, a table map health check code for F&O filters, else our own (docs/reference/validation_codes.md).
    """

    file: str
    row: int | None = None
    code: str
    field: str = ""
    message: str

    def __str__(self) -> str:
        where = f"{self.file}, row {self.row}" if self.row is not None else self.file
        return (
            f"{where}: {self.code} {self.field}: {self.message}"
            if self.field
            else f"{where}: {self.code} {self.message}"
        )


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a check: `counts` are numbers of components by their heading."""

    counts: dict[str, int]
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]

    @property
    def text(self) -> str:
        """The report as the command line prints it: faults, warnings, and the counts last."""
        lines = [f"fault    {fault}" for fault in self.faults]
        lines += [f"warning  {warning}" for warning in self.warnings]
        maps, rows = self.counts["maps"], self.counts["rows"]
        others = ", ".join(f"{number:,} {name}" for name, number in self.counts.items() if name not in ("maps", "rows"))
        faults = f"{len(self.faults):,} fault{'' if len(self.faults) == 1 else 's'}"
        lines += [others, f"{maps:,} maps, {rows:,} rows, {faults}, {len(self.warnings):,} warnings"]
        return "\n".join(lines)
