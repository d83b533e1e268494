"""The data sources of an entity as SQL: which physical columns its fields are, and how its tables are joined.

One description serves the entity's view, the images that a write reads, and the search for rows by natural key, so that
what a write changes is what a read shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from isthmus.errors import Bug
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import DataSource, Entity, EntityField, FinopsTable
from isthmus.metadata.types import FIELD_NO_VALUE, FIELD_POSTGRES, FieldType
from isthmus.query.quoting import quote_identifier, quote_literal

SCHEMA = "finops"
"""Schema of the half's tables and views."""

RECID, COMPANY, VERSION = "recid", "dataareaid", "recversion"

SYSTEM_COLUMNS: dict[str, FieldType] = {
    RECID: FieldType.INT64,
    COMPANY: FieldType.STRING,
    VERSION: FieldType.INT64,
    "createddatetime": FieldType.DATE_TIME,
    "createdby": FieldType.STRING,
    "modifieddatetime": FieldType.DATE_TIME,
    "modifiedby": FieldType.STRING,
}
"""Columns that every table has without its definition saying so; DataAreaId only a company-specific one."""

VALID_FROM, VALID_TO = "validfrom", "validto"
"""Columns of a date-effective table; a row is valid from the first instant up to, not including, the second."""


class Source(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A data source, resolved: `on` and `fixed` are by physical column, `alias` is its quoted name in a statement."""

    name: str
    definition: DataSource
    table: FinopsTable
    alias: str
    parent: str | None
    on: tuple[tuple[str, str], ...]
    fixed: Mapping[str, str | int]

    @property
    def sql_name(self) -> str:
        """Quoted, schema-qualified name of the table."""
        return table_sql_name(self.table)

    @property
    def points_from_parent(self) -> bool:
        """Whether the parent's row holds this row's RecId (a customer its party), and not the other way round."""
        return any(ours == RECID for ours, _ in self.on)

    @property
    def finds_one_row(self) -> bool:
        """Whether a join on `on` and `fixed` can't find two rows, because a unique index says so."""
        columns = {ours for ours, _ in self.on} | set(self.fixed)
        if RECID in columns:
            return True
        indexes = self.table.unique_indexes
        return not self.definition.current and any({name.lower() for name in index} <= columns for index in indexes)


class FieldBinding(msgspec.Struct, frozen=True, kw_only=True):
    """An entity field and the physical column of a data source that it reads and writes."""

    name: str
    field: EntityField
    source: str
    column: str
    type: FieldType

    @property
    def is_system(self) -> bool:
        """Whether the column is the system's own, which no write sets."""
        return self.column in SYSTEM_COLUMNS


class DataSources:
    """The data sources and field bindings of one entity.

    `versioned` are the sources whose row every record has: the newest row version among them is the record's. Rows that
    a record may lack belong to one of these, which gets a new version when they change (see addresses).
    """

    def __init__(self, catalog: Catalog, entity: Entity) -> None:
        self.entity = entity
        self.sources: dict[str, Source] = {}
        for definition in entity.data_sources:
            table = catalog.finops_tables[definition.table]
            self.sources[definition.name] = Source(
                name=definition.name,
                definition=definition,
                table=table,
                alias=quote_identifier(definition.name.lower()),
                parent=definition.parent,
                on=tuple((ours.lower(), theirs.lower()) for ours, theirs in definition.on),
                fixed={name.lower(): value for name, value in definition.fixed.items()},
            )
        self.root = self.sources[entity.root.name]
        self.fields = {name: self._bind(field) for name, field in entity.field.items()}
        self.names: dict[tuple[str, str], tuple[str, ...]] = {}
        """Fields by (data source, physical column)."""
        self._by_table: dict[tuple[str, str], str] = {}
        """The first field by (table, physical column)."""
        for name, binding in self.fields.items():
            column = (binding.source, binding.column)
            self.names[column] = (*self.names.get(column, ()), name)
            self._by_table.setdefault((self.sources[binding.source].table.name, binding.column), name)
        self.ancestors = {name: tuple(self._ancestors(name)) for name in self.sources}
        self.versioned = tuple(name for name in self.sources if not self._may_be_absent(name))
        self.children: dict[str, list[str]] = {name: [] for name in self.sources}
        for source in self.sources.values():
            if source.parent is not None:
                self.children[source.parent].append(source.name)

    def field_of(self, table: str, column: str) -> str | None:
        """The entity's field (lower case) that is this column of this table; None when it has none."""
        return self._by_table.get((table, column))

    def _bind(self, field: EntityField) -> FieldBinding:
        table, column = self.sources[field.source].table, field.field.lower()
        return FieldBinding(
            name=field.column, field=field, source=field.source, column=column, type=column_type(table, column)
        )

    def _ancestors(self, name: str) -> Iterable[str]:
        parent = self.sources[name].parent
        while parent is not None:
            yield parent
            parent = self.sources[parent].parent

    def _may_be_absent(self, name: str) -> bool:
        """Whether a record may be without this source's row: it, or one that it hangs on, is an outer join."""
        return any(self.sources[above].definition.outer for above in (name, *self.ancestors[name])[:-1])

    def descendants(self, name: str) -> list[str]:
        """All sources below this one, parents before children."""
        below = {name}
        for source in self.sources.values():
            if source.parent in below:
                below.add(source.name)
        below.discard(name)
        return [source for source in self.sources if source in below]

    def joins(self, top: str, wanted: Iterable[str]) -> str:
        """JOIN clauses from source `top` down to every source in `wanted`, and those in between."""
        needed: set[str] = set()
        for name in wanted:
            needed.add(name)
            needed.update(self.ancestors[name])
        needed -= {top, *self.ancestors[top]}
        return "".join(self._join(self.sources[name]) for name in self.sources if name in needed)

    def _join(self, source: Source) -> str:
        if source.parent is None:
            raise Bug(f"Data source '{source.name}' of '{self.entity.aot_name}' has no parent to be joined to.")
        kind = "left join" if source.definition.outer else "join"
        if source.finds_one_row and not source.definition.current:
            return f" {kind} {source.sql_name} {source.alias} on {self._condition(source, source.alias)}"
        order = f'x."{VALID_FROM}" desc, ' if source.definition.current else ""
        # By RecId, so that PostgreSQL sees that the join finds one row, and leaves it out where nobody asks for it.
        row = (
            f"select x.recid from {source.sql_name} x where {self._condition(source, 'x')} "  # noqa: S608  (definitions)
            f"order by {order}x.recid limit 1"
        )
        return f" {kind} {source.sql_name} {source.alias} on {source.alias}.recid = ({row})"

    def _condition(self, source: Source, alias: str) -> str:
        parent = self.sources[source.parent or ""]
        parts = []
        for ours, theirs in source.on:
            left, right = f"{alias}.{quote_identifier(ours)}", f"{parent.alias}.{quote_identifier(theirs)}"
            if column_type(source.table, ours) is FieldType.STRING:
                left, right = f"lower({left})", f"lower({right})"
            parts.append(f"{left} = {right}")
        if source.table.company_specific and parent.table.company_specific and (COMPANY, COMPANY) not in source.on:
            parts.append(f"lower({alias}.dataareaid) = lower({parent.alias}.dataareaid)")
        parts += fixed_conditions(source, alias)
        if source.definition.current:
            parts.append(f'{alias}."{VALID_FROM}" <= now() and now() < {alias}."{VALID_TO}"')
        return " and ".join(parts)

    def column_sql(self, source: str, column: str) -> str:
        """A column of a source; where the source may be absent, its type's "no value" then."""
        found = self.sources[source]
        name = f"{found.alias}.{quote_identifier(column)}"
        if not self._may_be_absent(source):
            return name
        return f"coalesce({name}, {FIELD_NO_VALUE[column_type(found.table, column)]})"


def given_rows(alias: str, columns: Mapping[str, str], count: int) -> str:
    """`count` rows given as JSON in $1, as an item of FROM; `columns` are PostgreSQL types by name.

    PostgreSQL takes them for a hundred rows unless a limit says that they are few; it would then read whole tables to
    find a single row.
    """
    definition = ", ".join(f"{quote_identifier(name)} {kind}" for name, kind in columns.items())
    limit = next((f" limit {few}" for few in (1, 16) if count <= few), "")
    return f"(select * from json_to_recordset($1::json) as given({definition}){limit}) {alias}"  # noqa: S608


def table_sql_name(table: FinopsTable) -> str:
    """Quoted, schema-qualified name of a table."""
    return f"{SCHEMA}.{quote_identifier(table.relation)}"


def column_type(table: FinopsTable, column: str) -> FieldType:
    """F&O type of a physical column."""
    if column in SYSTEM_COLUMNS:
        return SYSTEM_COLUMNS[column]
    try:
        return table.field[column].type
    except KeyError:
        raise Bug(f"F&O table '{table.name}' has no field '{column}'.") from None


def postgres_type(table: FinopsTable, column: str) -> str:
    """PostgreSQL type of a physical column."""
    return FIELD_POSTGRES[column_type(table, column)]


def fixed_conditions(source: Source, alias: str) -> list[str]:
    """The values that rows of a source must have, as SQL conditions."""
    conditions = []
    for column, value in source.fixed.items():
        name = f"{alias}.{quote_identifier(column)}"
        if isinstance(value, str):
            conditions.append(f"lower({name}) = lower({quote_literal(value)})")
        else:
            conditions.append(f"{name} = {int(value)}")
    return conditions


def stored_columns(table: FinopsTable) -> list[str]:
    """Every physical column of a table, system columns first."""
    system = [name for name in SYSTEM_COLUMNS if name != COMPANY or table.company_specific]
    return system + [field.column for field in table.fields if field.column not in SYSTEM_COLUMNS]


class Compiled:
    """The data sources of every entity of a catalog, built when first asked for."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._found: dict[str, DataSources] = {}

    def __getitem__(self, aot_name: str) -> DataSources:
        found = self._found.get(aot_name)
        if found is None:
            found = self._found[aot_name] = DataSources(self._catalog, self._catalog.entity(aot_name))
        return found


Image = dict[tuple[str, str], Any]
"""Values read of one record, by (data source, physical column)."""
