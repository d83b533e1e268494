"""Two versions of a table map, compared field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from isthmus.metadata.files import document_of
from isthmus.metadata.table_map import FieldMapping, TableMap

_PROPERTIES = ("entity", "table", "integration_key", "finops_filter", "dataverse_filter", "owning_team")


class VersionDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that differs: a property of the table map, or a field mapping.

    `kind` is `changed`, or of field mappings also `added` and `removed`. `name` is the property, or both ends of the
    field mapping. `before` and `after` are in the shape of a definition file; None where there is none.
    """

    kind: str
    name: str
    before: Any = None
    after: Any = None


def differences(before: TableMap, after: TableMap) -> list[VersionDifference]:
    """What changed from one version to another, the order of rows apart."""
    return [*_of_properties(before, after), *_of_rows(before, after)]


def _of_properties(before: TableMap, after: TableMap) -> Iterator[VersionDifference]:
    for name in _PROPERTIES:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            old, new = (list(value) if isinstance(value, tuple) else value for value in (old, new))
            yield VersionDifference(kind="changed", name=name, before=old, after=new)


def _of_rows(before: TableMap, after: TableMap) -> Iterator[VersionDifference]:
    """Rows with the same ends are one; of what is left, those with the same Dataverse end, then the same F&O end."""
    old, new = _rows(before), _rows(after)
    for ends in (_both_ends, _dataverse_end, _finops_end):
        for row, written in [*old]:
            twin = next((each for each in new if ends(row) and ends(each[0]) == ends(row)), None)
            if twin is None:
                continue
            old.remove((row, written))
            new.remove(twin)
            if twin[1] != written:
                yield VersionDifference(kind="changed", name=_name(row), before=written, after=twin[1])
    for row, written in old:
        yield VersionDifference(kind="removed", name=_name(row), before=written)
    for row, written in new:
        yield VersionDifference(kind="added", name=_name(row), after=written)


def _rows(table_map: TableMap) -> list[tuple[FieldMapping, list[Any]]]:
    return list(zip(table_map.rows, document_of(table_map)["rows"], strict=True))


def _both_ends(row: FieldMapping) -> str:
    return f"{(row.finops or '').lower()}\x1f{(row.dataverse or '').lower()}"


def _dataverse_end(row: FieldMapping) -> str:
    return (row.dataverse or "").lower()


def _finops_end(row: FieldMapping) -> str:
    return (row.finops or "").lower()


def _name(row: FieldMapping) -> str:
    return f"{row.finops or 'none'} {row.arrow} {row.dataverse or 'none'}"
