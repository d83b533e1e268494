"""Schema drift: a table map whose entity or table has lost or changed what it maps; what changed, and what to do."""

from __future__ import annotations

from difflib import get_close_matches

import msgspec

from isthmus.dual_write.validation import validate
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.map_path import resolve_path
from isthmus.metadata.table_map import FieldMapping, TableMap

_GONE = frozenset({"DIPV1018", "DIPV1020", "DIPV1022", "DIPV1025", "900", "DIPV1012", "expression_name"})
_ADDED = frozenset({"DIPV1010", "DIPV1031"})
_HARMLESS = frozenset({"example_unclear"})


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in which a schema no longer fits a table map.

    `kind`: a name is gone, what it holds has changed, or something mandatory was added. `row` is the number of the
    field mapping, None where the whole map is concerned. `what` says what is wrong, `advice` what to do.
    """

    kind: str
    row: int | None
    field: str
    code: str
    what: str
    advice: str


def drift_of(table_map: TableMap, catalog: Catalog) -> list[Drift]:
    """In what a table map does not fit the catalog as it is now; empty while it fits.

    It was valid when it was chosen, so each fault that it has now comes from a change of its schemas.
    """
    found = []
    for fault in validate(table_map, catalog).faults:
        if fault.code in _HARMLESS:
            continue
        kind = "gone" if fault.code in _GONE else "added" if fault.code in _ADDED else "changed"
        found.append(
            Drift(
                kind=kind,
                row=fault.row,
                field=fault.field,
                code=fault.code,
                what=f"{fault.field} {fault.message}",
                advice=_advice(kind, fault.row, fault.field, table_map, catalog),
            )
        )
    return found


def without_broken_rows(table_map: TableMap, catalog: Catalog) -> TableMap | None:
    """The table map without the rows that name what is not there; None when that leaves nothing that can run.

    Records keep being queued and known by it while it is paused for its schema; it must not go live like that.
    """
    drifts = drift_of(table_map, catalog)
    if not drifts:
        return table_map
    broken = {drift.row for drift in drifts if drift.kind != "added"}
    if None in broken:
        return None
    rows = tuple(row for row in table_map.rows if row.row not in broken)
    sound = msgspec.structs.replace(table_map, rows=rows, examples=())
    if any(drift.kind != "added" for drift in drift_of(sound, catalog)):
        return None
    names = {row.dataverse.lower() for row in sound.rows if row.dataverse and row.finops}
    table = catalog.table(sound.table)
    key_stands = all(
        text.lower() in names or resolve_path(text, table, catalog).is_company_code for text in sound.integration_key
    )
    return sound if key_stands else None


def _advice(kind: str, row: int | None, field: str, table_map: TableMap, catalog: Catalog) -> str:
    if row is None and field.endswith("_filter"):
        return "Change the filter; save it as a new version and choose it."
    where = f"row {row}" if row is not None else "the table map"
    if kind == "added":
        return f"Add a field mapping for {field}, or one with a default; save it as a new version and choose it."
    if kind == "changed":
        return f"Change {where} to what {field} holds now; save it as a new version and choose it."
    mapping = next((each for each in table_map.rows if each.row == row), None)
    similar = _similar(mapping, field, table_map, catalog) if mapping is not None else None
    renamed = f" It may be called {similar} now." if similar else ""
    return f"Remove {where}, or name what took the place of {field}; save it as a new version and choose it.{renamed}"


def _similar(row: FieldMapping, field: str, table_map: TableMap, catalog: Catalog) -> str | None:
    """The name on that side that looks most like the one that is gone."""
    entity, table = catalog.entities.get(table_map.entity), catalog.tables.get(table_map.table)
    if entity is None or table is None:
        return None
    names = [each.name for each in entity.fields] if field == row.finops else [each.name for each in table.columns]
    found = get_close_matches(field.split(".")[0].lower(), [name.lower() for name in names], 1, 0.8)
    return next((name for name in names if found and name.lower() == found[0]), None)
