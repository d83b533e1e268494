"""Compiles the leg of a table map from F&O to Dataverse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.dataverse.schema import sql_name
from isthmus.dual_write.conversion import canonical_text, to_dataverse
from isthmus.dual_write.filters import finops_filter
from isthmus.dual_write.leg import Leg
from isthmus.dual_write.leg_sql import (
    entity_rows,
    fault_sql,
    key_rows,
    key_sql,
    keys_sql,
    project_sql,
    recordset,
    resolve_sql,
    same_text,
    value_name,
)
from isthmus.finops.data_sources import SYSTEM_COLUMNS, DataSources
from isthmus.finops.records import links
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity
from isthmus.metadata.map_path import COMPANY_CODE, COMPANY_TABLE, MapPath, resolve_path
from isthmus.metadata.table import Column, Table
from isthmus.metadata.table_map import FieldMapping, TableMap
from isthmus.metadata.types import FIELD_POSTGRES
from isthmus.query.quoting import quote_identifier, quote_literal


def compile_to_dataverse(table_map: TableMap, catalog: Catalog, sources: DataSources) -> Leg:
    """The F&O -> Dataverse leg. Rejected when a row cannot be compiled (isthmus check finds it first)."""
    entity = catalog.entity(table_map.entity)
    table = catalog.table(table_map.table)
    rows = [
        (row, resolve_path(row.dataverse, table, catalog))
        for row in table_map.rows
        if row.to_dataverse and row.dataverse
    ]
    values, faults = _values(rows, entity, catalog)
    passes = finops_filter(table_map, entity, catalog, "v")
    company = "v.dataareaid" if entity.company_specific else "null::text"
    key = _key(table_map, entity, catalog)
    keys = [row.finops for _, row in key_rows(table_map, catalog) if row and row.finops]
    read = [row.finops for row, _ in rows if row.finops]
    records = f"({entity_rows(sources, [*read, *keys, *passes.fields])}) v where v.recid = any($1::bigint[])"
    records_with_key = f"({entity_rows(sources, keys)}) v where v.recid = any($1::bigint[])"
    paths = {value_name(path): path for _, path in rows}
    triggers, shown_by = _triggers(sources, rows, passes.fields)
    return Leg(
        table_map=table_map,
        source="finops",
        root=entity.root.table,
        project=project_sql("v.recid", company, passes.sql, key, faults, values, records),
        keys_of_ids=keys_sql("v.recid", key, records_with_key),
        keys_of_values=keys_sql("v.id", key, recordset("v", _field_types(entity))),
        resolve=_resolve(table_map, table, list(paths.values()), catalog),
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


def _values(
    rows: list[tuple[FieldMapping, MapPath]], entity: Entity, catalog: Catalog
) -> tuple[dict[str, str], list[str]]:
    """SQL of each destination value by path, and of each fault."""
    values: dict[str, str] = {}
    faults: list[str] = []
    for row, path in rows:
        field = entity.field[row.finops.lower()] if row.finops else None
        sql = f"v.{quote_identifier(field.column)}" if field else ""
        converted = to_dataverse(row, field, sql, path.leaf, catalog.enums)
        values[value_name(path)] = _exact(converted.sql, path.leaf)
        if converted.fault and field:
            faults.append(fault_sql(field.name, sql, converted.fault))
    return values, faults


def _exact(sql: str, column: Column) -> str:
    """Decimals travel as text: a JSON number may lose digits on its way through a program."""
    return f"({sql})::text" if column.type.is_decimal else sql


def _key(table_map: TableMap, entity: Entity, catalog: Catalog) -> str:
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
    two_way = {path.head.name for row, path in rows if row.to_finops}
    return frozenset(value_name(path) for row, path in rows if row.finops and path.head.name not in two_way)


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
        if row.finops:
            field = entity.field[row.finops.lower()]
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


def _resolve(table_map: TableMap, table: Table, paths: list[MapPath], catalog: Catalog) -> str:
    """(b): ids behind natural keys, then the row that the integration key names."""
    types = {"ordinal": "integer", "target": "uuid", "company": "text"}
    types.update({value_name(path): path.leaf.postgres for path in paths})
    source = recordset("s", types)
    columns: dict[str, str] = {}
    missing: list[str] = []
    if table.company_column or any(_leads_to_company_specific(path) for path in paths):
        company = catalog.table(COMPANY_TABLE)
        source += (
            f" left join lateral (select x.{quote_identifier(company.primary_id)} as id from {sql_name(company)} x "
            f"where lower(x.{quote_identifier(COMPANY_CODE)}) = lower(s.company) limit 1) c on true"
        )
    if table.company_column and table.company_column not in {path.head.name for path in paths}:
        columns[table.company_column] = "c.id"
        missing.append(_missing("s.company is not null", "c.id", table.company_column))
    heads: dict[str, list[MapPath]] = {}
    for path in paths:
        if path.is_lookup:
            heads.setdefault(path.head.name, []).append(path)
    for number, (head, parts) in enumerate(heads.items()):
        source += _lookup_join(f"l{number}", parts, table)
        columns[head] = f"l{number}.id"
        if parts[0].head.is_polymorphic:
            columns[parts[0].head.type_column] = f"l{number}.type"
        given = " and ".join(_names_a_row(part) for part in parts)
        missing.append(_missing(given, f"l{number}.id", head))
    source += _match(table_map, table, columns, catalog)
    return resolve_sql("coalesce(s.target, m.id)", columns, missing, source)


def _missing(given: str, found: str, column: str) -> str:
    return f"case when {given} and {found} is null then {quote_literal(column)} end"


def _names_a_row(part: MapPath) -> str:
    """SQL that holds where a part of a natural key has a value: F&O's number without one is 0."""
    value = f"s.{quote_identifier(value_name(part))}"
    return f"{value} <> 0" if part.leaf.type.is_number else f"{value} is not null"


def _leads_to_company_specific(path: MapPath) -> bool:
    """Whether the lookup of a path finds its row within the record's company."""
    targets = [target for _, target in path.hops[:1]] + [target for target, _ in path.alternatives]
    return any(target.company_column for target in targets)


def _lookup_join(alias: str, parts: list[MapPath], table: Table) -> str:
    """Finds the id of one lookup from all the parts of its natural key."""
    if parts[0].alternatives:
        given = f"s.{quote_identifier(value_name(parts[0]))}"
        choices = []
        for rank, (target, leaf) in enumerate(parts[0].alternatives):
            matches = same_text(f"x.{quote_identifier(leaf.name)}", given, leaf.postgres)
            choices.append(
                f"(select x.{quote_identifier(target.primary_id)} as id, "
                f"{quote_literal(target.logical_name)}::text as type, {rank} as rank from {sql_name(target)} x "
                f"where {matches}{_company_condition(target, table)} limit 1)"
            )
        union = " union all ".join(choices)
        return f" left join lateral (select u.id, u.type from ({union}) u order by u.rank limit 1) {alias} on true"
    target = parts[0].hops[0][1]
    joins, conditions = "", []
    for number, part in enumerate(parts):
        here = "x"
        for depth, (lookup, following) in enumerate(part.hops[1:]):
            there = f"x{number}_{depth}"
            joins += (
                f" join {sql_name(following)} {there} on {there}.{quote_identifier(following.primary_id)}"
                f" = {here}.{quote_identifier(lookup.name)}"
            )
            here = there
        conditions.append(
            same_text(
                f"{here}.{quote_identifier(part.leaf.name)}",
                f"s.{quote_identifier(value_name(part))}",
                part.leaf.postgres,
            )
        )
    explicit_company = any(part.is_company_code for part in parts)
    company = "" if explicit_company else _company_condition(target, table)
    return (
        f" left join lateral (select x.{quote_identifier(target.primary_id)} as id, "
        f"{quote_literal(target.logical_name)}::text as type from {sql_name(target)} x{joins} "
        f"where {' and '.join(conditions)}{company} limit 1) {alias} on true"
    )


def _company_condition(target: Table, table: Table) -> str:
    """A company-specific row is looked up in the record's own company."""
    if target.company_column is None or table.logical_name == COMPANY_TABLE:
        return ""
    return f" and x.{quote_identifier(target.company_column)} = c.id"


def _match(table_map: TableMap, table: Table, columns: Mapping[str, str], catalog: Catalog) -> str:
    """Finds the row itself by the integration key: plain columns by value, lookups by the ids found above."""
    conditions = []
    for path, _ in key_rows(table_map, catalog):
        head = f"t.{quote_identifier(path.head.name)}"
        if path.is_lookup:
            conditions.append(f"{head} = {columns.get(path.head.name, 'c.id')}")
        else:
            conditions.append(same_text(head, f"s.{quote_identifier(value_name(path))}", path.leaf.postgres))
    return (
        f" left join lateral (select t.{quote_identifier(table.primary_id)} as id from {sql_name(table)} t "
        f"where {' and '.join(dict.fromkeys(conditions))} limit 1) m on s.target is null"
    )
