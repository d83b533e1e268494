"""Table maps as they were in February 2020, as earlier versions of those that are shipped now."""

from __future__ import annotations

from typing import Any

import msgspec

from facts_import.facts import Facts
from facts_import.table_maps import TableMaps
from isthmus.dual_write.calculated import LANGUAGES
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check import table_map_faults
from isthmus.metadata.files import document_of
from isthmus.metadata.table_map import FieldMapping, TableMap

VERSION = "0.9.0.0"
"""Below every version that is shipped now."""


def earlier_maps(facts: Facts, made: TableMaps, catalog: Catalog) -> dict[str, TableMap]:
    """Earlier versions by the stem of their file; those that the definitions of now no longer fit are left out."""
    current = {_ends(table_map, catalog): table_map for table_map in catalog.table_maps.values()}
    found = {}
    for stem, fact in facts.earlier_maps.items():
        table_map = current.get((fact["dataverse_table"].lower(), fact["finops_entity"].lower()))
        if table_map is None:
            facts.note(f"{stem}: no table map joins this entity and table now; left out")
            continue
        try:
            earlier = _earlier(fact, table_map, made, catalog)
            faults = table_map_faults(catalog, earlier, LANGUAGES)
        except (KeyError, Rejected) as error:
            facts.note(f"{stem}: {error} is not there any more; left out")
            continue
        if faults:
            facts.note(f"{stem}: {len(faults)} faults, the first {faults[0].code} {faults[0].field}; left out")
        elif _same(earlier, table_map):
            facts.note(f"{stem}: is as it is now; left out")
        else:
            found[stem] = earlier
    return found


def _earlier(fact: dict[str, Any], now: TableMap, made: TableMaps, catalog: Catalog) -> TableMap:
    entity, table = catalog.entity(now.entity), catalog.table(now.table)
    twins = {_both_ends(row): row for row in now.rows}
    rows = tuple(_as_now(made.row(table, entity, number, row), twins) for number, row in enumerate(fact["fields"], 1))
    return msgspec.structs.replace(
        now,
        rows=rows,
        finops_filter=fact["finops_filter"] or "",
        dataverse_filter=fact["dataverse_filter"] or "",
        version=VERSION,
        examples=(),
    )


def _as_now(row: FieldMapping, twins: dict[tuple[str, str], FieldMapping]) -> FieldMapping:
    """The pages of that time show that a row has a transform and not which: it is the one of the same row now."""
    twin = twins.get(_both_ends(row))
    transform = row.transform if not row.transform.is_plain or twin is None else twin.transform
    arrow = row.arrow[-1] if row.arrow not in ("=", "><") else "="
    doubled = {"=": "><", ">": ">>", "<": "<<"}[arrow]
    return msgspec.structs.replace(row, transform=transform, arrow=arrow if transform.is_plain else doubled)


def _both_ends(row: FieldMapping) -> tuple[str, str]:
    return (row.finops or "").lower(), (row.dataverse or "").lower()


def _same(earlier: TableMap, now: TableMap) -> bool:
    leave_out = {"version", "examples", "rows"}
    one, other = document_of(earlier), document_of(now)
    return {k: v for k, v in one.items() if k not in leave_out} == {
        k: v for k, v in other.items() if k not in leave_out
    } and sorted(map(str, one["rows"])) == sorted(map(str, other["rows"]))


def _ends(table_map: TableMap, catalog: Catalog) -> tuple[str, str]:
    return catalog.table(table_map.table).entity_set_name.lower(), table_map.name.split(" - ", 1)[1].lower()
