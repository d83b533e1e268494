"""Table, index, foreign key and view definitions as data, and their application to a database.

    statements = await apply(connection, "dataverse", tables, views)

What is missing is created and what changed is adapted, never at the price of data: a column that is no longer defined
stays, and a type is only ever widened. Indexes, foreign keys and views carry a digest of their definition in their
comment, so that a second run knows them without parsing what PostgreSQL made of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from isthmus.errors import Rejected
from isthmus.query.quoting import MAX_IDENTIFIER_BYTES, quote_identifier, quote_literal

WIDER_TYPES: dict[str, frozenset[str]] = {
    "smallint": frozenset({"integer", "bigint", "numeric", "double precision", "text"}),
    "integer": frozenset({"bigint", "numeric", "double precision", "text"}),
    "bigint": frozenset({"numeric", "text"}),
    "real": frozenset({"double precision"}),
    "character varying": frozenset({"text"}),
    "uuid": frozenset({"text"}),
}
"""Changes of a column's type that lose nothing and need no expression."""

STORAGE = "fillfactor = 80"
"""Room is left on each page for changed rows. A row that stays on its page needs no new index entries: catch-up's
updates of accounts, which have twenty-one indexes, came to 14 us a row instead of 49.
"""


class ColumnDefinition(msgspec.Struct, frozen=True):
    """A column; `type` as `format_type` spells it (`timestamptz` is understood), `default` an SQL literal."""

    name: str
    type: str
    default: str | None = None
    not_null: bool = False


class IndexDefinition(msgspec.Struct, frozen=True):
    """An index; `expressions` and `where` are SQL already, such as `lower("accountnumber")`."""

    name: str
    expressions: tuple[str, ...]
    unique: bool = False
    where: str | None = None


class ForeignKey(msgspec.Struct, frozen=True):
    """A foreign key; a deferrable one is checked at once unless a transaction defers it."""

    name: str
    columns: tuple[str, ...]
    target_schema: str
    target_table: str
    target_columns: tuple[str, ...]
    deferrable: bool = True


class TableDefinition(msgspec.Struct, frozen=True):
    schema: str
    name: str
    columns: tuple[ColumnDefinition, ...]
    primary_key: tuple[str, ...]
    indexes: tuple[IndexDefinition, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()


class ViewDefinition(msgspec.Struct, frozen=True):
    """A view; `sql` is its query. Views are created in the order given, after all tables."""

    schema: str
    name: str
    sql: str


def identifier(*parts: str) -> str:
    """Parts joined by `_`, cut to 63 bytes with a digest of the whole at the end when they are longer."""
    name = "_".join(parts)
    if len(name.encode()) <= MAX_IDENTIFIER_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: MAX_IDENTIFIER_BYTES - 9].decode(errors="ignore") + "_" + digest


def qualified(schema: str, name: str) -> str:
    """Quoted `schema.name`."""
    return f"{quote_identifier(schema)}.{quote_identifier(name)}"


async def apply(
    connection: Any, schema: str, tables: Sequence[TableDefinition], views: Sequence[ViewDefinition] = ()
) -> list[str]:
    """Bring `schema` to the definitions in one transaction; return the statements that were executed, none when equal.

    Two processes that do this at once queue. Rejected (`column_type_change`) when a column would have to change its
    type at the risk of its data.
    """
    async with connection.transaction():
        await connection.execute("set local lock_timeout = '120s'; set local statement_timeout = 0")
        await connection.execute("select pg_advisory_xact_lock(hashtextextended('isthmus.ddl', 0))")
        found = await _Found.read(connection, schema)
        statements = list(_plan(schema, tables, views, found))
        if statements:
            await connection.execute(";\n".join(statements))
    return statements


class _Found(msgspec.Struct):
    """What the schema holds now. Comments are those of `_marked`."""

    exists: bool
    columns: dict[str, dict[str, tuple[str, bool]]]
    """Table -> column -> (type, not null)."""
    table_marks: dict[str, str | None]
    index_marks: dict[str, str | None]
    constraint_marks: dict[tuple[str, str], str | None]
    view_marks: dict[str, str | None]

    @classmethod
    async def read(cls, connection: Any, schema: str) -> _Found:
        exists = await connection.fetchval("select true from pg_namespace where nspname = $1", schema)
        relations = await connection.fetch(
            """select c.relname, c.relkind::text as kind, obj_description(c.oid, 'pg_class') as mark
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
               where n.nspname = $1 and c.relkind in ('r', 'p', 'i', 'I', 'v')""",
            schema,
        )
        columns = await connection.fetch(
            """select c.relname, a.attname, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull
               from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
               where n.nspname = $1 and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped""",
            schema,
        )
        constraints = await connection.fetch(
            """select c.relname, o.conname, obj_description(o.oid, 'pg_constraint') as mark
               from pg_constraint o join pg_class c on c.oid = o.conrelid join pg_namespace n on n.oid = c.relnamespace
               where n.nspname = $1 and o.contype = 'f'""",
            schema,
        )
        by_table: dict[str, dict[str, tuple[str, bool]]] = {}
        for row in columns:
            by_table.setdefault(row["relname"], {})[row["attname"]] = (row["type"], row["attnotnull"])
        marks: dict[str, dict[str, str | None]] = {"r": {}, "i": {}, "v": {}}
        for row in relations:
            marks["r" if row["kind"] == "p" else row["kind"].lower()][row["relname"]] = row["mark"]
        return cls(
            exists=bool(exists),
            columns=by_table,
            table_marks=marks["r"],
            index_marks=marks["i"],
            constraint_marks={(row["relname"], row["conname"]): row["mark"] for row in constraints},
            view_marks=marks["v"],
        )


def _plan(
    schema: str, tables: Sequence[TableDefinition], views: Sequence[ViewDefinition], found: _Found
) -> Iterable[str]:
    """All statements, in an order in which each can run: tables, indexes, foreign keys, views."""
    if not found.exists:
        yield f"create schema {quote_identifier(schema)}"
    table_statements = [statement for table in tables for statement in _table_statements(table, found)]
    retyped = any(" type " in statement for statement in table_statements if statement.startswith("alter table"))
    view_marks = {view.name: _mark(view.sql) for view in views}
    stale = [view for view in views if retyped or found.view_marks.get(view.name) != view_marks[view.name]]
    for view in reversed(stale):
        if view.name in found.view_marks:
            yield f"drop view {qualified(view.schema, view.name)}"
    yield from table_statements
    for table in tables:
        yield from _index_statements(table, found)
    for table in tables:
        yield from _foreign_key_statements(table, found)
    for view in stale:
        name = qualified(view.schema, view.name)
        yield f"create view {name} as {view.sql}"
        yield f"comment on view {name} is {quote_literal(view_marks[view.name])}"


def _table_statements(table: TableDefinition, found: _Found) -> Iterable[str]:
    name = qualified(table.schema, table.name)
    mark = _mark(STORAGE, *(f"{column.name} {column.default}" for column in table.columns))
    existing = found.columns.get(table.name)
    if existing is None:
        parts = [_column_sql(column) for column in table.columns]
        parts.append(f"primary key ({', '.join(map(quote_identifier, table.primary_key))})")
        yield f"create table {name} ({', '.join(parts)}) with ({STORAGE})"
        yield f"comment on table {name} is {quote_literal(mark)}"
        return
    defaults_changed = found.table_marks.get(table.name) != mark
    changes = [f"set ({STORAGE})"] if defaults_changed else []
    for column in table.columns:
        quoted = quote_identifier(column.name)
        if column.name not in existing:
            changes.append(f"add column {_column_sql(column)}")
            continue
        type_now, not_null_now = existing[column.name]
        type_wanted = _spelled(column.type)
        if type_now != type_wanted:
            if type_wanted not in WIDER_TYPES.get(type_now.partition("(")[0], frozenset()):
                raise Rejected(
                    f"Column '{column.name}' of table '{table.schema}.{table.name}' is {type_now}; its definition "
                    f"says {type_wanted}. That change may lose data: give the new column another name, or convert it.",
                    code="column_type_change",
                    table=table.name,
                    column=column.name,
                )
            changes.append(f"alter column {quoted} type {type_wanted}")
        if defaults_changed:
            setting = "drop default" if column.default is None else f"set default {column.default}"
            changes.append(f"alter column {quoted} {setting}")
        if column.not_null and not not_null_now:
            if column.default is not None:
                yield f"update {name} set {quoted} = {column.default} where {quoted} is null"  # noqa: S608  (definitions)
            changes.append(f"alter column {quoted} set not null")
        elif not_null_now and not column.not_null and column.name not in table.primary_key:
            changes.append(f"alter column {quoted} drop not null")
    if changes:
        yield f"alter table {name} {', '.join(changes)}"
    if defaults_changed:
        yield f"comment on table {name} is {quote_literal(mark)}"


def _column_sql(column: ColumnDefinition) -> str:
    default = "" if column.default is None else f" default {column.default}"
    return f"{quote_identifier(column.name)} {column.type}{default}{' not null' if column.not_null else ''}"


def _index_statements(table: TableDefinition, found: _Found) -> Iterable[str]:
    for index in table.indexes:
        mark = _mark(table.name, str(index.unique), index.where or "", *index.expressions)
        if found.index_marks.get(index.name) == mark:
            continue
        name = qualified(table.schema, index.name)
        if index.name in found.index_marks:
            yield f"drop index {name}"
        where = f" where {index.where}" if index.where else ""
        yield (
            f"create {'unique ' if index.unique else ''}index {quote_identifier(index.name)} "
            f"on {qualified(table.schema, table.name)} ({', '.join(index.expressions)}){where}"
        )
        yield f"comment on index {name} is {quote_literal(mark)}"


def _foreign_key_statements(table: TableDefinition, found: _Found) -> Iterable[str]:
    name = qualified(table.schema, table.name)
    for key in table.foreign_keys:
        columns = ", ".join(map(quote_identifier, key.columns))
        targets = ", ".join(map(quote_identifier, key.target_columns))
        definition = f"foreign key ({columns}) references {qualified(key.target_schema, key.target_table)} ({targets})"
        if key.deferrable:
            definition += " deferrable initially immediate"
        mark = _mark(definition)
        quoted = quote_identifier(key.name)
        known = found.constraint_marks.get((table.name, key.name), "")
        if known == mark:
            continue
        if (table.name, key.name) in found.constraint_marks:
            yield f"alter table {name} drop constraint {quoted}"
        yield f"alter table {name} add constraint {quoted} {definition}"
        yield f"comment on constraint {quoted} on {name} is {quote_literal(mark)}"


def _mark(*parts: str) -> str:
    """The comment that identifies a definition."""
    return "isthmus " + hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]


def _spelled(type_name: str) -> str:
    """A type as `format_type` spells it."""
    return "timestamp with time zone" if type_name == "timestamptz" else type_name
