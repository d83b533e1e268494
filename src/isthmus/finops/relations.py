"""What can be asked of each data entity: the catalog in the words of the query model."""

from __future__ import annotations

from isthmus.finops.data_sources import COMPANY, SCHEMA
from isthmus.finops.schema import view_name
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity, EntityField, EntityRelation
from isthmus.metadata.types import FieldType
from isthmus.query.model import Kind, Navigation, QueryColumn, Relation
from isthmus.query.quoting import quote_identifier

NAMESPACE = "Microsoft.Dynamics.DataEntities"

KINDS: dict[FieldType, Kind] = {
    FieldType.STRING: Kind.TEXT,
    FieldType.INT: Kind.INTEGER,
    FieldType.INT64: Kind.BIG_INT,
    FieldType.REAL: Kind.DECIMAL,
    FieldType.DATE: Kind.DATE,
    FieldType.DATE_TIME: Kind.TIMESTAMP,
    FieldType.ENUM: Kind.ENUM,
    FieldType.GUID: Kind.UUID,
    FieldType.BOOLEAN: Kind.BOOLEAN,
    FieldType.BINARY: Kind.BINARY,
    FieldType.TIME: Kind.INTEGER,
}

ETAG = "'W/\"' || {alias}.recversion || ';' || {alias}.recid || '\"'"
"""Version and RecId, so that the ETag of one record never fits another."""


def relations(catalog: Catalog) -> dict[str, Relation]:
    """The relation of every data entity, by AOT name."""
    return {name: relation(catalog, entity) for name, entity in catalog.entities.items()}


def relation(catalog: Catalog, entity: Entity) -> Relation:
    """The relation of one data entity: its view."""
    return Relation(
        name=entity.aot_name,
        sql_name=f"{SCHEMA}.{quote_identifier(view_name(catalog, entity))}",
        columns={field.column: _column(catalog, field) for field in entity.fields},
        navigations={
            navigation.name.lower(): navigation
            for found in entity.relations
            if (navigation := _navigation(catalog, entity, found)) is not None
        },
        key=tuple(key.lower() for key in entity.keys),
        no_null=True,
        etag=ETAG,
        set_name=entity.collection,
    )


def _column(catalog: Catalog, field: EntityField) -> QueryColumn:
    enum = catalog.enums.get(field.enum or "") if field.type is FieldType.ENUM else None
    kind = KINDS[field.type]
    return QueryColumn(
        name=field.name,
        physical=field.column,
        kind=Kind.INTEGER if kind is Kind.ENUM and enum is None else kind,
        labels={member.value: member.symbol for member in enum.members} if enum else {},
        enum_type=enum.name if enum else None,
        wire_date=True,
        nullable=False,
    )


def _navigation(catalog: Catalog, entity: Entity, relation: EntityRelation) -> Navigation | None:
    """A navigation property; None for a relation of which only the name is known."""
    target = catalog.entities.get(relation.entity)
    if target is None or not relation.on:
        return None
    pairs = [(theirs.lower(), ours.lower()) for ours, theirs in relation.on]
    if entity.company_specific and target.company_specific and (COMPANY, COMPANY) not in pairs:
        pairs.insert(0, (COMPANY, COMPANY))
    return Navigation(name=relation.name, target=target.aot_name, many=relation.many, on=tuple(pairs))
