"""Compiles the leg of a table map from Dataverse to F&O."""

from __future__ import annotations

from isthmus.dataverse.schema import sql_name
from isthmus.dual_write.calculated import calculated_for_finops, columns_read
from isthmus.dual_write.conversion import canonical_text, to_finops
from isthmus.dual_write.filters import dataverse_filter
from isthmus.dual_write.leg import Leg
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
    same_text,
    stage_sql,
    staged_columns,
)
from isthmus.finops.data_sources import DataSources
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity
from isthmus.metadata.map_path import COMPANY_CODE, MapPath, resolve_path
from isthmus.metadata.table import Column, Table
from isthmus.metadata.table_map import FieldMapping, TableMap
from isthmus.metadata.types import FIELD_NO_VALUE, FIELD_POSTGRES
from isthmus.query.quoting import quote_identifier, quote_literal


class LookupJoins:
    """The joins that follow lookups out of the table `t`, each prefix of a path joined once."""

    def __init__(self, table: Table) -> None:
        self._aliases: dict[tuple[str, ...], str] = {}
        self.table = table
        self.sql = ""

    def value(self, path: MapPath) -> str:
        """SQL of the value a path leads to."""
        if path.alternatives:
            leaves = []
            for target, leaf in path.alternatives:
                alias = self._join(("t", path.head.name, target.logical_name), "t", path.head, target)
                leaves.append(f"{alias}.{quote_identifier(leaf.name)}")
            return f"coalesce({', '.join(leaves)})"
        alias = "t"
        steps: tuple[str, ...] = ("t",)
        for lookup, target in path.hops:
            steps = (*steps, lookup.name, target.logical_name)
            alias = self._join(steps, alias, lookup, target)
        return f"{alias}.{quote_identifier(path.leaf.name)}"

    def _join(self, steps: tuple[str, ...], source: str, lookup: Column, target: Table) -> str:
        known = self._aliases.get(steps)
        if known is not None:
            return known
        alias = self._aliases[steps] = f"j{len(self._aliases)}"
        self.sql += (
            f" left join {sql_name(target)} {alias}"
            f" on {alias}.{quote_identifier(target.primary_id)} = {source}.{quote_identifier(lookup.name)}"
        )
        if lookup.is_polymorphic:
            self.sql += f" and {source}.{quote_identifier(lookup.type_column)} = {quote_literal(target.logical_name)}"
        return alias


def compile_to_finops(table_map: TableMap, catalog: Catalog, sources: DataSources) -> Leg:
    """The Dataverse -> F&O leg. Rejected when a row cannot be compiled (isthmus check finds it first)."""
    entity = catalog.entity(table_map.entity)
    table = catalog.table(table_map.table)
    rows = rows_to_finops(table_map, table, catalog)
    passes = dataverse_filter(table_map, table, catalog, "t")
    joins = LookupJoins(table)
    company = company_code(table, catalog, joins)
    values, faults = values_to_finops(rows, entity, catalog, joins)
    parents = _parents(rows, catalog)
    unkeyed = {field: _without_key(path, joins) for field, path in parents.items()}
    key = key_from_dataverse(table_map, catalog, joins, company)
    physical = f"{sql_name(table)} t"
    identity = f"t.{quote_identifier(table.primary_id)}"
    takes_part = f"({passes.sql})" + (f" and {company} is not null" if table.company_column else "")

    projection = Projection(
        records=physical + joins.sql,
        identity=identity,
        identity_type="uuid",
        company=company,
        passes=takes_part,
        key=key,
        faults=tuple(faults),
        values=values,
        types={name: FIELD_POSTGRES[entity.field[name].type] for name in values},
        unkeyed=unkeyed,
    )

    key_joins = LookupJoins(table)
    key_company = company_code(table, catalog, key_joins)
    key_alone = key_from_dataverse(table_map, catalog, key_joins, key_company)
    return Leg(
        table_map=table_map,
        source="dataverse",
        root=table.logical_name,
        project=project_sql(projection),
        stage_all=stage_sql(projection),
        staged=staged_columns(projection),
        keys_of_ids=keys_sql(identity, key_alone, f"{physical}{key_joins.sql} where {identity} = any($1::uuid[])"),
        ids_of_key=keys_sql(identity, key_alone, f"{physical}{key_joins.sql} where {key_alone} = $1"),
        keys_of_values=keys_sql("t.id", key_alone, recordset("t", _column_types(table)) + key_joins.sql),
        resolve=_resolve(table_map, entity, catalog, sources),
        resolved=tuple((row.finops or "").lower() for _, row in key_rows(table_map, catalog) if row),
        triggers={table.logical_name: _triggers(rows, table, passes.fields)},
        shown_by={},
        filter_columns=frozenset((table.logical_name, name) for name in passes.fields),
        one_way=frozenset((row.finops or "").lower() for row, path in rows if _is_one_way(row, path)),
        roots={},
        paths={},
        key_names=frozenset(path.head.name for path, row in key_rows(table_map, catalog) if row),
        is_two_way=any(row.to_dataverse and row.finops for row in table_map.rows),
        parents={field: tuple(_leads_to(path)) for field, path in parents.items()},
    )


def rows_to_finops(table_map: TableMap, table: Table, catalog: Catalog) -> list[tuple[FieldMapping, MapPath | None]]:
    """The rows that this leg carries, each with its path.

    A lookup is one value: when a part of its natural key goes this way, all do, whatever their arrows say. Otherwise
    F&O would hold the name of a category beside the hierarchy of the one before (three published maps).
    """
    named = [
        (row, resolve_path(row.dataverse, table, catalog) if row.dataverse else None)
        for row in table_map.rows
        if row.finops
    ]
    lookups = {path.head.name for row, path in named if row.to_finops and path and path.is_lookup}
    return [(row, path) for row, path in named if row.to_finops or (path and path.head.name in lookups)]


def _parents(rows: list[tuple[FieldMapping, MapPath | None]], catalog: Catalog) -> dict[str, MapPath]:
    """Fields whose value is the key of a row that another table map carries both ways: F&O may be who gives the key."""
    return {
        (row.finops or "").lower(): path
        for row, path in rows
        if path is not None and row.transform.to_finops is None
        if any(_is_key(*end, catalog) for end in _leads_to(path))
    }


def _is_key(table: str, column: str, catalog: Catalog) -> bool:
    """Whether the column is a part of a key that goes both ways."""
    return any(
        row.finops and row.to_finops and row.to_dataverse and (row.dataverse or "").lower() == column
        for table_map in catalog.maps_of_table.get(table, ())
        if column in (part.lower() for part in table_map.integration_key)
        for row in table_map.rows
    )


def _leads_to(path: MapPath) -> list[tuple[str, str]]:
    """The tables and columns at the end of a path of one lookup; nothing for longer ones."""
    if path.alternatives:
        return [(table.logical_name, column.name) for table, column in path.alternatives]
    return [(path.hops[0][1].logical_name, path.leaf.name)] if len(path.hops) == 1 else []


def _without_key(path: MapPath, joins: LookupJoins) -> str:
    """SQL of the id that a lookup holds while the row it leads to has no value there."""
    head = f"t.{quote_identifier(path.head.name)}"
    return f"case when {head} is not null and {joins.value(path)} is null then {head} end"


def company_code(table: Table, catalog: Catalog, joins: LookupJoins) -> str:
    """SQL of the code of the row's company, as F&O writes it: in lower case."""
    if table.company_column is None:
        return "null::text"
    return f"lower({joins.value(resolve_path(f'{table.company_column}.{COMPANY_CODE}', table, catalog))})"


def values_to_finops(
    rows: list[tuple[FieldMapping, MapPath | None]], entity: Entity, catalog: Catalog, joins: LookupJoins
) -> tuple[dict[str, str], list[str]]:
    """SQL of each field's value, and of each fault. A field with several sources takes the first that has a value."""
    candidates: dict[str, list[str]] = {}
    faults: list[str] = []
    for row, path in rows:
        field = entity.field[(row.finops or "").lower()]
        if row.transform.to_finops is not None:
            converted = calculated_for_finops(row, joins.table, "t", field, catalog.enums)
        else:
            value = joins.value(path) if path else ""
            converted = to_finops(row, path.leaf if path else None, value, field, catalog.enums)
        candidates.setdefault(field.column, []).append(converted.sql)
        if converted.fault:
            given = converted.given
            name = path.text if path else field.name
            faults.append(fault_sql(name, given, f"{given} is not null and {converted.fault}"))
    values = {}
    for name, sqls in candidates.items():
        field = entity.field[name]
        nothing = FIELD_NO_VALUE[field.type]
        values[name] = (
            sqls[0] if len(sqls) == 1 else f"coalesce({', '.join(f'nullif({s}, {nothing})' for s in sqls)}, {nothing})"
        )
    return values, faults


def key_from_dataverse(table_map: TableMap, catalog: Catalog, joins: LookupJoins, company: str) -> str:
    """SQL of the integration key of a row `t` of the table, over the joins that it adds."""
    return key_sql(
        company if row is None else canonical_text(joins.value(path), path.leaf)
        for path, row in key_rows(table_map, catalog)
    )


def _is_one_way(row: FieldMapping, path: MapPath | None) -> bool:
    """Whether only this leg carries the row's value, or it is made of more than what the other leg writes."""
    if row.transform.to_finops is None:
        return path is not None and not row.to_dataverse
    return not row.to_dataverse or path is None or columns_read(row) != (path.head.name,)


def _column_types(table: Table) -> dict[str, str]:
    types = {column.name: column.postgres for column in table.columns if column.is_stored}
    types.update({column.type_column: "text" for column in table.columns if column.is_polymorphic})
    return {**types, "id": "text"}


def _triggers(
    rows: list[tuple[FieldMapping, MapPath | None]], table: Table, filter_columns: frozenset[str]
) -> dict[str, frozenset[str]]:
    triggers: dict[str, frozenset[str]] = {name: frozenset() for name in filter_columns}
    if table.company_column:
        triggers.setdefault(table.company_column, frozenset())
    for row, path in rows:
        names = list(columns_read(row))
        if path is not None and row.transform.to_finops is None:
            names = [path.head.name] + ([path.head.type_column] if path.head.is_polymorphic else [])
        for name in names:
            triggers[name] = triggers.get(name, frozenset()) | {(row.finops or "").lower()}
    return triggers


def _resolve(table_map: TableMap, entity: Entity, catalog: Catalog, sources: DataSources) -> str:
    """(b): the record that the integration key names."""
    types = {"ordinal": "integer", "target": "bigint", "company": "text"}
    key = key_rows(table_map, catalog)
    conditions = []
    if entity.company_specific or any(row is None for _, row in key):
        conditions.append("lower(v.dataareaid) = lower(s.company)")
    for _, row in key:
        if row is None:
            continue
        field = entity.field[(row.finops or "").lower()]
        postgres = FIELD_POSTGRES[field.type]
        types[field.column] = postgres
        name = quote_identifier(field.column)
        conditions.append(same_text(f"v.{name}", f"s.{name}", postgres))
    rows = entity_rows(sources, [row.finops for _, row in key if row and row.finops])
    source = (
        f"{recordset('s', types)} left join lateral (select v.recid as id from ({rows}) v "
        f"where {' and '.join(conditions)} limit 1) m on s.target is null"
    )
    return resolve_sql("coalesce(s.target, m.id)", {}, [], source)
