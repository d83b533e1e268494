"""Edits of a table map, one by one: what a form or a command line changes without sending the whole definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from isthmus.errors import Rejected
from isthmus.metadata.files import document_of, table_map_of
from isthmus.metadata.table_map import TableMap


class AddRow(msgspec.Struct, frozen=True, tag_field="edit", tag="add_row", forbid_unknown_fields=True):
    """Adds a field mapping, in the shape of a definition file: `[F&O field, arrow, Dataverse path, transform]`."""

    row: list[Any]


class ChangeRow(msgspec.Struct, frozen=True, tag_field="edit", tag="change_row", forbid_unknown_fields=True):
    """Puts another field mapping in the place of number `row`, counted from 1."""

    row: int
    to: list[Any]


class RemoveRow(msgspec.Struct, frozen=True, tag_field="edit", tag="remove_row", forbid_unknown_fields=True):
    """Removes field mapping number `row`, counted from 1."""

    row: int


class SetProperty(msgspec.Struct, frozen=True, tag_field="edit", tag="set", forbid_unknown_fields=True):
    """Sets what is given of the filters and the owning team (the id of a team, "" for the default one)."""

    finops_filter: str | None = None
    dataverse_filter: str | None = None
    owning_team: str | None = None


Edit = AddRow | ChangeRow | RemoveRow | SetProperty


def edited(table_map: TableMap, edits: Sequence[Edit]) -> TableMap:
    """The table map with these edits made.

    Numbers of rows are those of `table_map`, whatever the edits before have changed. Rejected: `row_not_found`,
    `definition_invalid`.
    """
    document = document_of(table_map)
    rows: dict[int, list[Any]] = dict(enumerate(document["rows"], 1))
    added: list[list[Any]] = []
    for edit in edits:
        match edit:
            case AddRow(row):
                added.append(row)
            case ChangeRow(number, row):
                rows[_known(number, rows, table_map)] = row
            case RemoveRow(number):
                del rows[_known(number, rows, table_map)]
            case SetProperty():
                document.update(
                    {name: value for name, value in msgspec.structs.asdict(edit).items() if value is not None}
                )
    document["rows"] = [*rows.values(), *added]
    return redefined(table_map, document)


def redefined(table_map: TableMap, document: dict[str, Any]) -> TableMap:
    """The definition in `document`, in the shape of a definition file, as a version of this table map."""
    found = table_map_of({"name": table_map.name, **document})
    if found.name != table_map.name:
        raise Rejected(
            f"A version of '{table_map.name}' can't be called '{found.name}': table maps keep their names.",
            code="table_map_renamed",
            table_map=table_map.name,
        )
    return msgspec.structs.replace(found, solution=table_map.solution, file="")


def _known(number: int, rows: dict[int, list[Any]], table_map: TableMap) -> int:
    if number not in rows:
        raise Rejected(
            f"Table map '{table_map.name}' has no row {number}; it has rows 1 to {len(table_map.rows)}.",
            code="row_not_found",
            table_map=table_map.name,
        )
    return number
