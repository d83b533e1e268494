"""Paths on the Dataverse side of a table map: a column, or lookups followed to a column that identifies their row.

`creditlimit`; `msdyn_customergroupid.msdyn_groupid`; two hops: `msdyn_productcategory.msdyn_hierarchy.msdyn_name`;
polymorphic: `customerid.Account(accountnumber).Contact(msdyn_contactpersonid)`, tried in this order.
"""

from __future__ import annotations

import re

import msgspec

from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table import Column, Table

_ALTERNATIVE = re.compile(r"(\w+)\((\w+)\)")

COMPANY_TABLE = "cdm_company"
COMPANY_CODE = "cdm_companycode"


class MapPath(msgspec.Struct, frozen=True):
    """A path, resolved against the catalog.

    `head` is the column of the map's table. `hops` are the lookups followed (the head first) each with the table it
    leads to; empty for a plain column. `leaf` is the column whose value crosses. `alternatives` are the (table, column)
    pairs of a polymorphic path; `leaf` is then the first of them.
    """

    text: str
    head: Column
    hops: tuple[tuple[Column, Table], ...]
    leaf: Column
    alternatives: tuple[tuple[Table, Column], ...] = ()

    @property
    def is_lookup(self) -> bool:
        return bool(self.hops or self.alternatives)

    @property
    def is_company_code(self) -> bool:
        """Whether the path ends at the code of a company: live sync supplies it from the record's legal entity."""
        return bool(self.hops) and self.hops[-1][1].logical_name == COMPANY_TABLE and self.leaf.name == COMPANY_CODE


def resolve_path(text: str, table: Table, catalog: Catalog) -> MapPath:
    """Resolve a path from `table`. Rejected (`column_not_found`) names the first segment that is not there."""
    if "(" in text:
        return _resolve_polymorphic(text, table, catalog)
    segments = text.lower().split(".")
    hops: list[tuple[Column, Table]] = []
    here = table
    for segment in segments[:-1]:
        lookup = _column(here, segment, text)
        following = segments[len(hops) + 1]
        targets = [catalog.tables[name] for name in lookup.targets if name in catalog.tables]
        target = next((t for t in targets if following in t.column), None)
        if target is None:
            raise _missing(text, following, " or ".join(t.logical_name for t in targets) or lookup.name)
        hops.append((lookup, target))
        here = target
    leaf = _column(here, segments[-1], text)
    return MapPath(text, hops[0][0] if hops else leaf, tuple(hops), leaf)


def _resolve_polymorphic(text: str, table: Table, catalog: Catalog) -> MapPath:
    head = _column(table, text.partition(".")[0].lower(), text)
    alternatives = []
    for target_name, column_name in _ALTERNATIVE.findall(text):
        if target_name.lower() not in head.targets or target_name.lower() not in catalog.tables:
            raise _missing(text, target_name, f"the targets of {head.name}")
        target = catalog.tables[target_name.lower()]
        alternatives.append((target, _column(target, column_name.lower(), text)))
    return MapPath(text, head, (), alternatives[0][1], tuple(alternatives))


def _column(table: Table, name: str, path: str) -> Column:
    try:
        return table.column[name]
    except KeyError:
        raise _missing(path, name, table.logical_name) from None


def _missing(path: str, segment: str, where: str) -> Rejected:
    return Rejected(f"'{path}': there is no '{segment}' in {where}.", code="column_not_found", path=path)
