"""Values of F&O records that name records which are not there (yet): found before they are written, many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from isthmus.finops.app import FinopsApp
from isthmus.finops.data_sources import COMPANY, DataSources, given_rows, table_sql_name
from isthmus.finops.references import Reference
from isthmus.finops.values import encode
from isthmus.store.transaction import Transaction


class MissingReference(msgspec.Struct, frozen=True):
    """A value of the record at position `ordinal` that names no record: field (lower case), value, what it names."""

    ordinal: int
    field: str
    value: str
    target: str

    @property
    def parent(self) -> str:
        """The record that is missing."""
        return f"{self.target} {self.value}"


async def missing_references(
    app: FinopsApp, transaction: Transaction, sources: DataSources, rows: Sequence[dict[str, Any]]
) -> list[MissingReference]:
    """The values of `rows` (by lower-case field, `dataareaid` among them) that name no record.

    F&O's own check would refuse all rows for the first of them.
    """
    asked = _references(app, sources)
    names = list(asked)
    given = [
        {"ordinal": ordinal, "reference": number, "company": row.get(COMPANY) or "", "value": row[name]}
        for ordinal, row in enumerate(rows)
        for number, name in enumerate(names)
        if row.get(name)
    ]
    if not given:
        return []
    used = sorted({value["reference"] for value in given})
    missing = " or ".join(
        f"k.reference = {number} and not exists (select from {table_sql_name(asked[names[number]].target)} t "
        f"where {asked[names[number]].condition})"
        for number in used
    )
    types = {"ordinal": "integer", "reference": "integer", "company": "text", "value": "text"}
    sql = f"select k.* from {given_rows('k', types, len(given))} where {missing}"  # noqa: S608  (definitions)
    return [
        MissingReference(
            ordinal=record["ordinal"],
            field=names[record["reference"]],
            value=record["value"],
            target=asked[names[record["reference"]]].target.label or asked[names[record["reference"]]].target.name,
        )
        for record in await transaction.rows(sql, encode(given))
    ]


def _references(app: FinopsApp, sources: DataSources) -> dict[str, Reference]:
    """By field of the entity: what its text names."""
    found = {}
    for name, binding in sources.fields.items():
        table = sources.sources[binding.source].table
        reference = app.references.of.get((table.name, binding.column))
        if reference is not None:
            found[name] = reference
    return found
