"""A query compiled: one statement that gives each record as JSON text, and what is needed to bind it and to page.

Pages follow keys, not offsets: the token of the next page holds the values that the last row is ordered by, the key
last. So a page is as quick as the first, and rows written meanwhile are neither repeated nor cause others to be lost.
"""

from __future__ import annotations

from typing import Any

import msgspec

from isthmus.errors import Rejected
from isthmus.query.literals import boolean_of, date_of, decimal_of, double_of, integer_of, timestamp_of, uuid_of
from isthmus.query.model import (
    Expand,
    Expression,
    Function,
    Kind,
    Order,
    Path,
    Query,
    QueryColumn,
    Relation,
    Relations,
    Value,
)
from isthmus.query.quoting import quote_identifier
from isthmus.query.record_json import RecordWriter, WireOptions
from isthmus.query.sql import Binding, SqlWriter
from isthmus.query.sql_types import SQL_TYPE

MAX_EXPANDED_ROWS = 5_000
"""Rows of one expanded collection, when the query names no smaller number."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled query of one shape.

    `sql` gives a text per row: the record; then, unless it is of a `single` row, a text per order key. `bindings` say
    where each parameter comes from; the last one of a page's statement is the number of rows. `order_kinds` are the
    kinds of the order keys, for reading them back from a token. `select_list` is what the context address says of the
    properties: "(name,revenue)", or nothing.
    """

    sql: str
    bindings: tuple[Binding, ...]
    order_kinds: tuple[Kind, ...] = ()
    count_sql: str | None = None
    count_bindings: tuple[Binding, ...] = ()
    top: Value | None = None
    select_list: str = ""


class _OrderKey(msgspec.Struct, frozen=True):
    """One expression that rows are ordered by, as SQL, and what comparing with it needs."""

    sql: str
    kind: Kind
    descending: bool
    nullable: bool


def compile_query(
    query: Query,
    relations: Relations,
    wire: WireOptions,
    *,
    fixed: tuple[str, ...] = (),
    after: tuple[bool, ...] | None = None,
    count_limit: int | None = None,
) -> Plan:
    """A page of the records of a query.

    `fixed` are physical columns that must have values given when the plan is bound. `after` says of each order key
    whether it is null in the last row of the page before; None is the first page. `count_limit` caps the count.
    """
    relation = relations[query.relation]
    bindings: list[Binding] = []
    writer = SqlWriter(relations, bindings)
    alias = writer.new_alias()
    record, columns = _record(writer, wire, query, relation, alias)
    keys = _order_keys(writer, relation, query.order, alias)
    if after is not None and len(after) != len(keys):
        raise Rejected("This $skiptoken belongs to another query.", code="invalid_skiptoken")
    conditions = _conditions(writer, relation, query, fixed, alias)
    if after is not None:
        conditions.append(_after(writer, keys, after))
    selected = ", ".join([record, *(f"({key.sql})::text" for key in keys)])
    text = f"select {selected} from {writer.source(relation, alias)}{_where(conditions)}"  # noqa: S608  # names
    text += f" order by {', '.join(map(_order_sql, keys))}"
    if query.skip is not None and after is None:
        text += f" offset {writer.bind(_literal_binding(query.skip), 'bigint')}"
    count_sql, count_bindings = _count(query, relations, fixed, count_limit) if query.count else (None, ())
    return Plan(
        sql=text,
        bindings=tuple(bindings),
        order_kinds=tuple(key.kind for key in keys),
        count_sql=count_sql,
        count_bindings=count_bindings,
        top=query.top,
        select_list=select_list(query, relations, wire) if columns else "",
    )


def compile_by_key(query: Query, relations: Relations, wire: WireOptions, key: tuple[str, ...]) -> Plan:
    """The record whose physical columns `key` have the values given when the plan is bound.

    Of `query` only `select` and `expand` count.
    """
    relation = relations[query.relation]
    bindings: list[Binding] = []
    writer = SqlWriter(relations, bindings)
    alias = writer.new_alias()
    record, _ = _record(writer, wire, query, relation, alias)
    conditions = [_fixed(writer, relation, name, slot, alias) for slot, name in enumerate(key)]
    text = f"select {record} from {writer.source(relation, alias)}{_where(conditions)}"  # noqa: S608  # names
    return Plan(sql=text, bindings=tuple(bindings), select_list=select_list(query, relations, wire))


def compile_count(
    query: Query, relations: Relations, *, fixed: tuple[str, ...] = (), count_limit: int | None = None
) -> Plan:
    """The number of records of a query, `/$count`."""
    text, bindings = _count(query, relations, fixed, count_limit)
    return Plan(sql=text, bindings=bindings)


def select_list(query: Query, relations: Relations, wire: WireOptions) -> str:
    """The properties as the context address names them: `(name,primarycontactid(fullname))`; nothing for all."""
    names = [] if query.select is None else [column.name for column in query.select]
    for expand in query.expand:
        nested = select_list(expand.query, relations, wire)
        names.append(f"{expand.navigation.name}{nested or '()'}")
    return f"({','.join(names)})" if names else ""


def token_value(kind: Kind, text: str) -> Any:
    """The value of an order key from its text in a token. Rejected when somebody has changed it."""
    convert = {
        Kind.INTEGER: integer_of,
        Kind.BIG_INT: integer_of,
        Kind.CHOICE: integer_of,
        Kind.ENUM: integer_of,
        Kind.DECIMAL: decimal_of,
        Kind.DOUBLE: double_of,
        Kind.UUID: uuid_of,
        Kind.TIMESTAMP: timestamp_of,
        Kind.DATE: date_of,
    }.get(kind)
    if kind is Kind.BOOLEAN:
        return boolean_of(f"'{text}'")
    return text if convert is None else convert(text)


def _record(
    writer: SqlWriter, wire: WireOptions, query: Query, relation: Relation, alias: str
) -> tuple[str, tuple[QueryColumn, ...]]:
    records = RecordWriter(writer, wire)
    expanded = {}
    for expand in query.expand:
        expanded[expand.navigation.name] = _expanded(writer, wire, expand, alias)
        if expand.query.count:
            expanded[f"{expand.navigation.name}@odata.count"] = _expanded_count(writer, expand, alias)
    columns = records.columns(relation, query.select)
    return records.record(relation, alias, columns, expanded), columns


def _expanded(writer: SqlWriter, wire: WireOptions, expand: Expand, alias: str) -> str:
    """SQL text: the JSON of the related row, or of the array of related rows."""
    target = writer.relations[expand.navigation.target]
    related = writer.new_alias()
    record, _ = _record(writer, wire, expand.query, target, related)
    source, where = writer.related(expand.navigation, alias, related)
    if not expand.navigation.many:
        return f"coalesce((select {record} from {source} where {where} limit 1), 'null')"  # noqa: S608  # names
    if expand.query.where is not None:
        where += f" and {writer.condition(expand.query.where, related)}"
    order = ", ".join(map(_order_sql, _order_keys(writer, target, expand.query.order, related)))
    tail = f" order by {order}"
    if expand.query.skip is not None:
        tail += f" offset {writer.bind(_literal_binding(expand.query.skip), 'bigint')}"
    if expand.query.top is not None:
        tail += f" limit least({writer.bind(_literal_binding(expand.query.top), 'bigint')}, {MAX_EXPANDED_ROWS})"
    else:
        tail += f" limit {MAX_EXPANDED_ROWS}"
    rows = f"select {record} as record from {source} where {where}{tail}"  # noqa: S608  # names
    return f"(select concat('[', string_agg(record, ','), ']') from ({rows}) as related)"  # noqa: S608  # names


def _expanded_count(writer: SqlWriter, expand: Expand, alias: str) -> str:
    related = writer.new_alias()
    source, where = writer.related(expand.navigation, alias, related)
    if expand.query.where is not None:
        where += f" and {writer.condition(expand.query.where, related)}"
    return f"(select count(*) from {source} where {where})"  # noqa: S608  # names


def _count(
    query: Query, relations: Relations, fixed: tuple[str, ...], limit: int | None
) -> tuple[str, tuple[Binding, ...]]:
    relation = relations[query.relation]
    bindings: list[Binding] = []
    writer = SqlWriter(relations, bindings)
    alias = writer.new_alias()
    rows = f"from {writer.source(relation, alias)}{_where(_conditions(writer, relation, query, fixed, alias))}"
    if limit is None:
        return f"select count(*) {rows}", tuple(bindings)
    return f"select count(*) from (select {rows} limit {limit:d}) as counted", tuple(bindings)  # noqa: S608  # names


def _conditions(writer: SqlWriter, relation: Relation, query: Query, fixed: tuple[str, ...], alias: str) -> list[str]:
    conditions = [_fixed(writer, relation, name, slot, alias) for slot, name in enumerate(fixed)]
    if query.where is not None:
        conditions.append(writer.condition(query.where, alias))
    return conditions


def _where(conditions: list[str]) -> str:
    return f" where {' and '.join(conditions)}" if conditions else ""


def _fixed(writer: SqlWriter, relation: Relation, physical: str, slot: int, alias: str) -> str:
    column = relation.physical[physical]
    reference = f"{alias}.{quote_identifier(physical)}"
    parameter = writer.bind(Binding("fixed", slot=slot), SQL_TYPE[column.kind])
    return f"lower({reference}) = lower({parameter})" if column.kind is Kind.TEXT else f"{reference} = {parameter}"


def _order_keys(writer: SqlWriter, relation: Relation, order: tuple[Order, ...], alias: str) -> list[_OrderKey]:
    """What the query orders by, then the columns of the key that it does not name."""
    keys = [_order_key(writer, item.expression, item.descending, alias) for item in order]
    named = {
        item.expression.column.physical
        for item in order
        if isinstance(item.expression, Path) and not item.expression.navigations
    }
    for physical in relation.key:
        if physical not in named:
            path = Path((), relation.physical[physical], 0, False)
            keys.append(msgspec.structs.replace(_order_key(writer, path, False, alias), nullable=False))
    return keys


def _order_key(writer: SqlWriter, expression: Expression, descending: bool, alias: str) -> _OrderKey:
    kind = expression.kind
    if kind in (Kind.CHOICES, Kind.BINARY):
        raise Rejected("Rows cannot be ordered by a column of several values or bytes.", code="type_mismatch")
    text = writer.expression(expression, alias)
    if kind is Kind.TEXT:
        text = f"lower({text})"
    nullable = True
    if isinstance(expression, Path):
        nullable = not expression.no_null and (expression.column.nullable or bool(expression.navigations))
    elif isinstance(expression, Function) and kind is Kind.BIG_INT:
        kind = Kind.DECIMAL
    return _OrderKey(text, kind, descending, nullable)


def _order_sql(key: _OrderKey) -> str:
    """Null is smaller than every value, as in the databases behind both halves."""
    direction = " desc" if key.descending else ""
    nulls = (" nulls last" if key.descending else " nulls first") if key.nullable else ""
    return f"{key.sql}{direction}{nulls}"


def _after(writer: SqlWriter, keys: list[_OrderKey], nulls: tuple[bool, ...]) -> str:
    """The condition that a row comes after the one whose keys the token holds."""
    values = [
        None if is_null else writer.bind(Binding("token", slot=slot), SQL_TYPE[key.kind])
        for slot, (key, is_null) in enumerate(zip(keys, nulls, strict=True))
    ]
    if not any(key.nullable or key.descending for key in keys) and None not in values:
        left, right = ", ".join(key.sql for key in keys), ", ".join(map(str, values))
        return f"({left}) > ({right})"
    alternatives = []
    same: list[str] = []
    for key, value in zip(keys, values, strict=True):
        later = _later(key, value)
        if later is not None:
            alternatives.append(" and ".join([*same, later]))
        same.append(f"{key.sql} is null" if value is None else f"{key.sql} = {value}")
    return "(" + " or ".join(f"({alternative})" for alternative in alternatives) + ")"


def _later(key: _OrderKey, value: str | None) -> str | None:
    if value is None:
        return None if key.descending else f"{key.sql} is not null"
    if key.descending:
        return f"({key.sql} < {value} or {key.sql} is null)" if key.nullable else f"{key.sql} < {value}"
    return f"{key.sql} > {value}"


def _literal_binding(value: Value) -> Binding:
    if value.slot is None or value.convert is None:
        return Binding("constant", value.value)
    return Binding("literal", value.value, value.slot, value.convert)
