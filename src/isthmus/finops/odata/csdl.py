"""`$metadata`: the data entities as an entity data model, in CSDL XML (OData 4.0)."""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from isthmus.finops.actions import ACTIONS, RECORD, Action
from isthmus.finops.relations import NAMESPACE
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.choice import Enum
from isthmus.metadata.entity import Entity, EntityField, EntityRelation
from isthmus.metadata.types import FIELD_EDM, FieldType

EDMX = "http://docs.oasis-open.org/odata/ns/edmx"
EDM = "http://docs.oasis-open.org/odata/ns/edm"
CONTAINER = "Resources"


def metadata_document(catalog: Catalog) -> bytes:
    """The document, UTF-8: all public entities, and the enums that their fields use."""
    root = etree.Element(f"{{{EDMX}}}Edmx", nsmap={"edmx": EDMX}, Version="4.0")
    services = etree.SubElement(root, f"{{{EDMX}}}DataServices")
    schema = etree.SubElement(services, f"{{{EDM}}}Schema", nsmap={None: EDM}, Namespace=NAMESPACE)
    entities = sorted(catalog.entities.values(), key=lambda entity: entity.public_name)
    for enum in _used_enums(catalog, entities):
        _add_enum(schema, enum)
    for entity in entities:
        _add_entity(schema, catalog, entity)
    actions = [action for action in ACTIONS if action.collection.lower() in catalog.entity_of_collection]
    for action in actions:
        _add_action(schema, catalog, action)
    container = _add(schema, "EntityContainer", Name=CONTAINER)
    for entity in entities:
        _add_set(container, catalog, entity)
    document: bytes = etree.tostring(root, xml_declaration=True, encoding="utf-8")
    return document


def _add(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{EDM}}}{tag}", **attributes)


def _used_enums(catalog: Catalog, entities: Iterable[Entity]) -> list[Enum]:
    names = {
        field.enum for entity in entities for field in entity.fields if field.type is FieldType.ENUM and field.enum
    }
    return [catalog.enums[name] for name in sorted(names) if name in catalog.enums]


def _add_enum(schema: etree._Element, enum: Enum) -> None:
    element = _add(schema, "EnumType", Name=enum.name)
    for member in enum.members:
        _add(element, "Member", Name=member.symbol, Value=str(member.value))


def _add_entity(schema: etree._Element, catalog: Catalog, entity: Entity) -> None:
    element = _add(schema, "EntityType", Name=entity.public_name)
    key = _add(element, "Key")
    names = {name.lower() for name in entity.keys}
    for name in entity.keys:
        _add(key, "PropertyRef", Name=entity.field[name.lower()].name)
    for field in entity.fields:
        property_ = _add(element, "Property", Name=field.name, Type=_type(catalog, field))
        if field.column in names or field.type is not FieldType.STRING:
            property_.set("Nullable", "false")
        if field.max_length is not None:
            property_.set("MaxLength", str(field.max_length))
        if field.type is FieldType.REAL:
            property_.set("Scale", "variable")
    for relation in _known_relations(catalog, entity):
        target = catalog.entities[relation.entity]
        type_ = f"{NAMESPACE}.{target.public_name}"
        if relation.many:
            _add(element, "NavigationProperty", Name=relation.name, Type=f"Collection({type_})")
            continue
        navigation = _add(element, "NavigationProperty", Name=relation.name, Type=type_)
        for ours, theirs in relation.on:
            _add(
                navigation,
                "ReferentialConstraint",
                Property=entity.field[ours.lower()].name,
                ReferencedProperty=target.field[theirs.lower()].name,
            )


def _type(catalog: Catalog, field: EntityField) -> str:
    if field.type is FieldType.ENUM:
        return f"{NAMESPACE}.{field.enum}" if field.enum in catalog.enums else "Edm.Int32"
    return FIELD_EDM[field.type]


def _known_relations(catalog: Catalog, entity: Entity) -> list[EntityRelation]:
    return [relation for relation in entity.relations if relation.on and relation.entity in catalog.entities]


def _add_set(container: etree._Element, catalog: Catalog, entity: Entity) -> None:
    type_ = f"{NAMESPACE}.{entity.public_name}"
    element = _add(container, "EntitySet", Name=entity.collection, EntityType=type_)
    for relation in _known_relations(catalog, entity):
        target = catalog.entities[relation.entity]
        _add(element, "NavigationPropertyBinding", Path=relation.name, Target=target.collection)


def _add_action(schema: etree._Element, catalog: Catalog, action: Action) -> None:
    element = _add(schema, "Action", Name=action.name, IsBound="true")
    bound = f"{NAMESPACE}.{catalog.entity_of_collection[action.collection.lower()].public_name}"
    _add(
        element,
        "Parameter",
        Name="bindingParameter",
        Type=bound if action.binding == RECORD else f"Collection({bound})",
    )
    for name, type_ in action.parameters:
        _add(element, "Parameter", Name=name, Type=type_)
    if action.result is not None:
        _add(element, "ReturnType", Type=action.result)
