"""Compiles the leg of a table map from F&O to Dataverse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.dual_write.calculated import calculated_for_dataverse, fields_read, reads_beside
from isthmus.dual_write.conversion import canonical_text, to_dataverse
from isthmus.dual_write.filters import finops_filter
from isthmus.dual_write.leg import Leg
from isthmus.dual_write.leg_resolution import resolution
from isthmus.dual_write.leg_sql import (
    Projection,
    entity_rows,
    fault_sql,
    key_rows,
    key_sql,
    keys_sql,
    project_sql,
    recordset,
    resolve_sql,
    stage_sql,
    staged_columns,
    value_name,
)
from isthmus.finops.data_sources import SYSTEM_COLUMNS, DataSources
from isthmus.finops.records import links
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity
from isthmus.metadata.map_path import MapPath, resolve_path
from isthmus.metadata.table import Table
from isthmus.metadata.table_map import FieldMapping, TableMap
from isthmus.metadata.types import FIELD_POSTGRES
from isthmus.query.quoting import quote_identifier


def compile_to_dataverse(table_map: TableMap, catalog: Catalog, sources: DataSources) -> Leg:
    """The F&O -> Dataverse leg. Rejected when a row cannot be compiled (isthmus check finds it first)."""
    entity = catalog.entity(table_map.entity)
    table = catalog.table(table_map.table)
    rows = [
        (row, resolve_path(row.dataverse, table, catalog))
        for row in table_map.rows
        if row.to_dataverse and row.dataverse
    ]
    values, faults = values_to_dataverse(rows, entity, catalog)
    passes = finops_filter(table_map, entity, catalog, "v")
    company = "v.dataareaid" if entity.company_specific else "null::text"
    key = key_from_finops(table_map, entity, catalog)
    keys = [row.finops for _, row in key_rows(table_map, catalog) if row and row.finops]
    read = [name for row, _ in rows for name in fields_read(row)]
    paths = {value_name(path): path for _, path in rows}
    projection = Projection(
        records=f"({entity_rows(sources, [*read, *keys, *passes.fields])}) v",
        identity="v.recid",
        identity_type="bigint",
        company=company,
        passes=passes.sql,
        key=key,
        faults=tuple(faults),
        values=values,
        types={name: path.leaf.postgres for name, path in paths.items()},
    )
    records_with_key = f"({entity_rows(sources, keys)}) v"
    triggers, shown_by = _triggers(sources, rows, passes.fields)
    return Leg(
        table_map=table_map,
        source="finops",
        root=entity.root.table,
        project=project_sql(projection),
        stage_all=stage_sql(projection),
        staged=staged_columns(projection),
        keys_of_ids=keys_sql("v.recid", key, f"{records_with_key} where v.recid = any($1::bigint[])"),
        ids_of_key=keys_sql("v.recid", key, f"{records_with_key} where {key} = $1"),
        keys_of_values=keys_sql("v.id", key, recordset("v", _field_types(entity))),
        resolve=_resolve(table_map, table, paths, catalog),
        resolved=tuple(paths),
        triggers=triggers,
        shown_by=shown_by,
        filter_columns=frozenset(_physical(entity, name) for name in passes.fields),
        one_way=_one_way(rows),
        roots=_roots(entity, sources, read),
        paths=paths,
        key_names=frozenset(name.lower() for name in keys),
        is_two_way=any(row.to_finops and row.dataverse for row in table_map.rows),
    )


def values_to_dataverse(
    rows: list[tuple[FieldMapping, MapPath]], entity: Entity, catalog: Catalog
) -> tuple[dict[str, str], list[str]]:
    """SQL of each destination value by path, and of each fault."""
    values: dict[str, str] = {}
    faults: list[str] = []
    for row, path in rows:
        field = entity.field[row.finops.lower()] if row.finops else None
        sql = f"v.{quote_identifier(field.column)}" if field else ""
        if row.transform.to_dataverse is not None:
            converted = calculated_for_dataverse(row, entity, "v", path.leaf, catalog.enums)
        else:
            converted = to_dataverse(row, field, sql, path.leaf, catalog.enums)
        values[value_name(path)] = converted.sql
        if converted.fault:
            faults.append(fault_sql(field.name if field else path.text, converted.given, converted.fault))
    return values, faults


def key_from_finops(table_map: TableMap, entity: Entity, catalog: Catalog) -> str:
    """SQL of the integration key of a record `v` of the entity."""
    parts = []
    for path, row in key_rows(table_map, catalog):
        if row is None:
            parts.append("lower(v.dataareaid)")
            continue
        field = entity.field[(row.finops or "").lower()]
        value = to_dataverse(row, field, f"v.{quote_identifier(field.column)}", path.leaf, catalog.enums).sql
        parts.append(canonical_text(value, path.leaf))
    return key_sql(parts)


def _field_types(entity: Entity) -> dict[str, str]:
    types = {field.column: FIELD_POSTGRES[field.type] for field in entity.fields}
    return {**types, "dataareaid": "text", "id": "bigint"}


def _physical(entity: Entity, name: str) -> tuple[str, str]:
    field = entity.field[name.lower()]
    return entity.source[field.source].table, field.field.lower()


def _one_way(rows: list[tuple[FieldMapping, MapPath]]) -> frozenset[str]:
    """Values that only this leg carries. A lookup one part of which goes both ways is carried by both legs."""
    two_way = {path.head.name for row, path in rows if row.to_finops and not reads_beside(row)}
    return frozenset(value_name(path) for row, path in rows if fields_read(row) and path.head.name not in two_way)


def _joining(entity: Entity, name: str) -> Iterator[tuple[str, str]]:
    """The columns that decide which row of a data source a record shows: a customer's party, an address's role."""
    source = entity.source[name]
    while source.parent is not None:
        parent = entity.source[source.parent]
        joined = [(source.table, ours) for ours, _ in source.on] + [(parent.table, theirs) for _, theirs in source.on]
        yield from ((table, column.lower()) for table, column in joined if column.lower() not in SYSTEM_COLUMNS)
        yield from ((source.table, column.lower()) for column in source.fixed)
        source = parent


Triggers = dict[str, dict[str, frozenset[str]]]


def _triggers(
    sources: DataSources, rows: list[tuple[FieldMapping, MapPath]], filter_fields: frozenset[str]
) -> tuple[Triggers, Triggers]:
    """Which columns concern the leg: by their own value, and by deciding which rows a record shows.

    A column that holds the RecId of a row stands for the natural key that names the row: a customer's party for its
    number. For all else that is shown of the row it decides only where that is read.
    """
    entity = sources.entity
    by_value: Triggers = {entity.root.table: {}}
    by_row: Triggers = {}
    named = {field for link in links(sources) for field in link.fields}

    def add(to: Triggers, table: str, column: str, outputs: frozenset[str]) -> None:
        columns = to.setdefault(table, {})
        columns[column] = columns.get(column, frozenset()) | outputs

    for row, path in rows:
        for read in fields_read(row):
            field = entity.field[read.lower()]
            outputs = frozenset({value_name(path)})
            add(by_value, *_physical(entity, field.column), outputs)
            for table, column in _joining(entity, field.source):
                add(by_value if field.column in named else by_row, table, column, outputs)
    for name in filter_fields:
        add(by_value, *_physical(entity, name), frozenset())
    return by_value, by_row


def _roots(entity: Entity, sources: DataSources, fields: list[str]) -> dict[str, str]:
    """For each table of a mapped source that is not the root: SQL that climbs its joins up to the root."""
    climbs: dict[str, list[str]] = {}
    shown = {entity.field[field.lower()].source for field in fields}
    for name in sorted(shown.union(*(sources.ancestors[name] for name in shown))):
        source = entity.source[name]
        if source.parent is None:
            continue
        joins, alias, number = "", "a0", 0
        here = source
        while here.parent is not None:
            parent = entity.source[here.parent]
            number += 1
            conditions = " and ".join(
                f"{alias}.{quote_identifier(child.lower())} = a{number}.{quote_identifier(above.lower())}"
                for child, above in here.on
            )
            joins += f" join {sources.sources[parent.name].sql_name} a{number} on {conditions}"
            alias, here = f"a{number}", parent
        start = sources.sources[source.name].sql_name
        climbs.setdefault(source.table, []).append(
            f"select a0.recid as id, {alias}.recid as root from {start} a0{joins} where a0.recid = any($1::bigint[])"
        )
    return {table: " union ".join(parts) for table, parts in climbs.items()}


def _resolve(table_map: TableMap, table: Table, paths: Mapping[str, MapPath], catalog: Catalog) -> str:
    """(b): ids behind natural keys, then the row that the integration key names."""
    types = {"ordinal": "integer", "target": "uuid", "company": "text"}
    types.update({name: path.leaf.postgres for name, path in paths.items()})
    found = resolution(table_map, table, list(paths.values()), catalog, staged=False)
    return resolve_sql(found.target, found.columns, found.missing, recordset("s", types) + found.joins)
