"""SQL that both directions of a leg share: the JSON shape of projections, keys and resolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from isthmus.errors import Rejected
from isthmus.finops.data_sources import DataSources, fixed_conditions
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.map_path import MapPath, resolve_path
from isthmus.metadata.table_map import FieldMapping, TableMap
from isthmus.query.quoting import quote_identifier, quote_literal
from isthmus.store.ddl import identifier

KEY_SEPARATOR = "chr(31)"
"""Between the parts of a key: a character that no key value contains."""


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """(a) of a leg in parts: SQL over `records`, the FROM clause that yields every record of the source.

    `identity` is the record's id and `identity_type` its type; `values` are by the name they travel under, `types` are
    the types they have at the destination. `unkeyed` yields, for a value that a lookup leads to, the id of a row
    that has no such value yet.
    """

    records: str
    identity: str
    identity_type: str
    company: str
    passes: str
    key: str
    faults: tuple[str, ...]
    values: Mapping[str, str]
    types: Mapping[str, str]
    unkeyed: Mapping[str, str] = {}


STAGED = {"_company": "text", "_key": "text", "_bucket": "integer", "_faults": "text[]"}
"""Columns of a staged record beside its values and its `_id`. `_bucket` is the gate's bucket of its key."""


def staged_columns(projection: Projection) -> dict[str, str]:
    """The columns of staged records with their types."""
    return {"_id": projection.identity_type, **STAGED, **projection.types}


def stage_sql(projection: Projection) -> str:
    """(a) for all records that take part, as the columns of `staged_columns`; no parameters, as COPY wants it."""
    system = {
        "_id": projection.identity,
        "_company": projection.company,
        "_key": projection.key,
        "_bucket": f"isthmus.gate_bucket({projection.key})",
        "_faults": array_of(projection.faults),
    }
    types = staged_columns(projection)
    columns = {**system, **projection.values}
    selected = ", ".join(f"({sql})::{types[name]} as {quote_identifier(name)}" for name, sql in columns.items())
    return f"select {selected} from {projection.records} where {projection.passes}"


def project_sql(projection: Projection) -> str:
    """The statement of (a): one JSON text for the records whose ids are in $1, the shape of leg.Projected.

    Decimals travel as text: a JSON number may lose digits on its way through a program.
    """
    exact = {
        name: f"({sql})::text" if projection.types[name] == "numeric" else sql
        for name, sql in projection.values.items()
    }
    columns = ", ".join(f"{sql} as {quote_identifier(name)}" for name, sql in exact.items()) or "null as _"
    return (
        f"select coalesce(json_agg(json_build_object('id', {projection.identity}, 'company', {projection.company}, "
        f"'passes', coalesce({projection.passes}, false), 'key', {projection.key}, "
        f"'faults', to_json({array_of(projection.faults)}), "
        f"'values', (select to_json(x) from (select {columns}) x){_unkeyed(projection)})), '[]')::text "
        f"from {projection.records} where {projection.identity} = any($1::{projection.identity_type}[])"
    )


def _unkeyed(projection: Projection) -> str:
    if not projection.unkeyed:
        return ""
    pairs = ", ".join(f"{quote_literal(name)}, {sql}" for name, sql in projection.unkeyed.items())
    rows = " or ".join(f"({sql}) is not null" for sql in projection.unkeyed.values())
    return f", 'unkeyed', case when {rows} then json_strip_nulls(json_build_object({pairs})) end"


def keys_sql(identity: str, key: str, source: str) -> str:
    """The statement that yields `(id, key)` of each record of `source`."""
    return f"select {identity} as id, {key} as key from {source}"


def resolve_sql(target: str, columns: Mapping[str, str], missing: Iterable[str], source: str) -> str:
    """The statement of (b): one JSON text, the shape of leg.Resolved."""
    pairs = [f"select {quote_literal(name)} as name, to_json({sql}) as value" for name, sql in columns.items()]
    found = f"(select json_object_agg(c.name, c.value) from ({' union all '.join(pairs)}) c)" if pairs else "'{}'::json"
    return (
        f"select coalesce(json_agg(json_build_object('ordinal', s.ordinal, 'target', {target}, "
        f"'columns', {found}, 'missing', to_json({array_of(missing)}))), '[]')::text from {source}"
    )


def recordset(alias: str, columns: Mapping[str, str]) -> str:
    """Rows given as JSON in $1, with the types they are read as."""
    types = ", ".join(f"{quote_identifier(name)} {type_}" for name, type_ in columns.items())
    return f"json_to_recordset($1::json) as {alias}({types})"


def value_name(path: MapPath) -> str:
    """Name under which the value for a path travels: the path, cut where it is too long for a column of SQL."""
    return identifier(path.text)


def key_sql(parts: Iterable[str]) -> str:
    """Key text out of the canonical texts of its parts; null while one of them is null."""
    return f" || {KEY_SEPARATOR} || ".join(f"({part})" for part in parts)


def fault_sql(field: str, value: str, condition: str) -> str:
    """Text that names a value without counterpart, null when there is none."""
    return f"case when {condition} then {quote_literal(field + '=')} || ({value})::text end"


def same_text(left: str, right: str, postgres: str) -> str:
    """Equality as both halves have it: text regardless of case."""
    return f"lower({left}) = lower({right})" if postgres == "text" else f"{left} = {right}"


def entity_rows(sources: DataSources, fields: Iterable[str]) -> str:
    """A query of the entity's records with these fields only, so that only the data sources they live in are joined."""
    bindings = [sources.fields[name] for name in dict.fromkeys(name.lower() for name in fields)]
    root = sources.root
    columns = {"recid": f"{root.alias}.recid"}
    if sources.entity.company_specific:
        columns["dataareaid"] = f"{root.alias}.dataareaid"
    for binding in bindings:
        columns.setdefault(binding.name, sources.column_sql(binding.source, binding.column))
    selected = ", ".join(f"{sql} as {quote_identifier(name)}" for name, sql in columns.items())
    inner = [name for name, source in sources.sources.items() if source.parent and not source.definition.outer]
    conditions = fixed_conditions(root, root.alias)
    where = f" where {' and '.join(conditions)}" if conditions else ""
    joins = sources.joins(root.name, [*inner, *(binding.source for binding in bindings)])
    return f"select {selected} from {root.sql_name} {root.alias}{joins}{where}"


def key_rows(table_map: TableMap, catalog: Catalog) -> tuple[tuple[MapPath, FieldMapping | None], ...]:
    """The parts of the integration key with the row that maps each; None for the company's code, which is implied.

    Rejected (DIPV1014) when a part is neither mapped nor the company.
    """
    table = catalog.table(table_map.table)
    rows = {row.dataverse.lower(): row for row in table_map.rows if row.dataverse and row.finops}
    parts = []
    for text in table_map.integration_key:
        path = resolve_path(text, table, catalog)
        row = rows.get(text.lower())
        if row is None and not path.is_company_code:
            raise Rejected(
                f"Table map '{table_map.name}': the integration key column '{text}' is not mapped. Add "
                "a field mapping for it.",
                code="DIPV1014",
                table_map=table_map.name,
                column=text,
            )
        parts.append((path, row))
    return tuple(parts)


def array_of(texts: Iterable[str]) -> str:
    """SQL of an array of those texts that are not null."""
    joined = ", ".join(texts)
    return f"array_remove(array[{joined}]::text[], null)" if joined else "'{}'::text[]"
