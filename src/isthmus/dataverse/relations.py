"""What can be asked of each table: the catalog in the words of the query model."""

from __future__ import annotations

from isthmus.dataverse.schema import sql_name
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.relationship import OneToMany
from isthmus.metadata.table import Column, Table
from isthmus.metadata.types import ColumnType
from isthmus.query.model import Kind, Navigation, QueryColumn, Relation

KINDS: dict[ColumnType, Kind] = {
    ColumnType.STRING: Kind.TEXT,
    ColumnType.MEMO: Kind.TEXT,
    ColumnType.INTEGER: Kind.INTEGER,
    ColumnType.BIG_INT: Kind.BIG_INT,
    ColumnType.DECIMAL: Kind.DECIMAL,
    ColumnType.DOUBLE: Kind.DOUBLE,
    ColumnType.MONEY: Kind.DECIMAL,
    ColumnType.BOOLEAN: Kind.BOOLEAN,
    ColumnType.DATE_TIME: Kind.TIMESTAMP,
    ColumnType.PICKLIST: Kind.CHOICE,
    ColumnType.STATE: Kind.CHOICE,
    ColumnType.STATUS: Kind.CHOICE,
    ColumnType.MULTI_SELECT_PICKLIST: Kind.CHOICES,
    ColumnType.LOOKUP: Kind.UUID,
    ColumnType.CUSTOMER: Kind.UUID,
    ColumnType.OWNER: Kind.UUID,
    ColumnType.UNIQUE_IDENTIFIER: Kind.UUID,
    ColumnType.FILE: Kind.UUID,
    ColumnType.IMAGE: Kind.BINARY,
}

ETAG = "'W/\"' || {alias}.\"versionnumber\" || '\"'"


def relations(catalog: Catalog) -> dict[str, Relation]:
    """The relation of every table, by logical name."""
    return {name: relation(catalog, table) for name, table in catalog.tables.items()}


def relation(catalog: Catalog, table: Table) -> Relation:
    """The relation of one table; its columns go by their names on the wire (`_primarycontactid_value`)."""
    primary_name = table.column.get(table.primary_name or "")
    return Relation(
        name=table.logical_name,
        sql_name=sql_name(table),
        columns={column.wire_name.lower(): _column(table, column) for column in table.columns if column.is_stored},
        navigations=_navigations(catalog, table),
        key=(table.primary_id,),
        etag=ETAG if "versionnumber" in table.column else None,
        primary_name=primary_name.name if primary_name is not None and primary_name.is_stored else None,
        set_name=table.entity_set_name,
    )


def _column(table: Table, column: Column) -> QueryColumn:
    is_lookup = column.type.is_lookup
    return QueryColumn(
        name=column.wire_name,
        physical=column.name,
        kind=Kind.DATE if column.is_date_only else KINDS[column.type],
        labels={option.value: option.label for option in column.options},
        scale=column.precision if column.type in (ColumnType.DECIMAL, ColumnType.MONEY) else None,
        lookup_targets=column.targets if is_lookup else (),
        type_column=column.type_column if is_lookup and column.is_polymorphic else None,
        associated=column.name if column.type is ColumnType.OWNER else None,
        nullable=column.name not in (table.primary_id, "versionnumber"),
    )


def _navigations(catalog: Catalog, table: Table) -> dict[str, Navigation]:
    found = {
        name: _to_one(catalog, table, relationship)
        for name, relationship in catalog.lookups_of.get(table.logical_name, {}).items()
    }
    for name, relationship in catalog.collections_of.get(table.logical_name, {}).items():
        found.setdefault(name, _to_many(catalog, table, relationship))
    return found


def _to_one(catalog: Catalog, table: Table, relationship: OneToMany) -> Navigation:
    column = table.column[relationship.column]
    return Navigation(
        name=relationship.lookup_navigation,
        target=relationship.referenced,
        many=False,
        on=((catalog.table(relationship.referenced).primary_id, column.name),),
        where=((column.type_column, relationship.referenced),) if column.is_polymorphic else (),
    )


def _to_many(catalog: Catalog, table: Table, relationship: OneToMany) -> Navigation:
    column = catalog.table(relationship.referencing).column[relationship.column]
    return Navigation(
        name=relationship.collection_navigation,
        target=relationship.referencing,
        many=True,
        on=((column.name, table.primary_id),),
        where_target=((column.type_column, table.logical_name),) if column.is_polymorphic else (),
    )
