"""A table map with its entity, its table, and each row's field and path looked up: what the rules for maps work on."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check.fault import Fault
from isthmus.metadata.entity import Entity, EntityField
from isthmus.metadata.map_path import MapPath, resolve_path
from isthmus.metadata.table import Table
from isthmus.metadata.table_map import FieldMapping, TableMap


class MappedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One field mapping; `field` and `path` are None where it names none, or one that is not there."""

    mapping: FieldMapping
    field: EntityField | None
    path: MapPath | None


class Mapped(msgspec.Struct, frozen=True, kw_only=True):
    """A table map, resolved."""

    table_map: TableMap
    entity: Entity
    table: Table
    rows: tuple[MappedRow, ...]

    def fault(self, code: str, message: str, row: MappedRow | None = None, field: str = "") -> Fault:
        """A fault of this map."""
        number = row.mapping.row if row is not None else None
        return Fault(file=self.table_map.file, row=number, code=code, field=field, message=message)

    @property
    def to_dataverse(self) -> tuple[MappedRow, ...]:
        return tuple(row for row in self.rows if row.mapping.to_dataverse and row.mapping.dataverse)

    @property
    def to_finops(self) -> tuple[MappedRow, ...]:
        return tuple(row for row in self.rows if row.mapping.to_finops and row.mapping.finops)


def resolve(catalog: Catalog) -> tuple[list[Mapped], list[Fault]]:
    """All table maps, resolved, and the faults of those whose entity or table is not there (DIPV1018, DIPV1020)."""
    found: list[Mapped] = []
    faults: list[Fault] = []
    for table_map in catalog.table_maps.values():
        mapped = resolve_one(catalog, table_map)
        if isinstance(mapped, Mapped):
            found.append(mapped)
        else:
            faults += mapped
    return found, faults


def resolve_one(catalog: Catalog, table_map: TableMap) -> Mapped | list[Fault]:
    """A table map, resolved, or why it can't be."""
    entity, table = catalog.entities.get(table_map.entity), catalog.tables.get(table_map.table)
    if entity is not None and table is not None:
        rows = tuple(_row(catalog, entity, table, mapping) for mapping in table_map.rows)
        return Mapped(table_map=table_map, entity=entity, table=table, rows=rows)
    faults = []
    if entity is None:
        message = "is no data entity; add its definition or name another."
        faults.append(Fault(file=table_map.file, code="DIPV1018", field=table_map.entity, message=message))
    if table is None:
        message = "is no Dataverse table; add its definition or name another."
        faults.append(Fault(file=table_map.file, code="DIPV1020", field=table_map.table, message=message))
    return faults


def _row(catalog: Catalog, entity: Entity, table: Table, mapping: FieldMapping) -> MappedRow:
    field = entity.field.get(mapping.finops.lower()) if mapping.finops else None
    path = path_or_none(mapping.dataverse, table, catalog) if mapping.dataverse else None
    return MappedRow(mapping=mapping, field=field, path=path)


def path_or_none(text: str, table: Table, catalog: Catalog) -> MapPath | None:
    """The path, or None when a segment is not there."""
    try:
        return resolve_path(text, table, catalog)
    except Rejected:
        return None


def path_faults(text: str, table: Table, catalog: Catalog) -> Iterator[str]:
    """What is wrong with a path."""
    try:
        resolve_path(text, table, catalog)
    except Rejected as error:
        yield error.message
