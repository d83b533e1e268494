"""`$metadata`: the tables as an entity data model, in CSDL XML (OData 4.0)."""

from __future__ import annotations

from lxml import etree

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.relationship import OneToMany
from isthmus.metadata.table import Column, Table
from isthmus.metadata.types import ColumnType

EDMX = "http://docs.oasis-open.org/odata/ns/edmx"
EDM = "http://docs.oasis-open.org/odata/ns/edm"
NAMESPACE = "Microsoft.Dynamics.CRM"
ALIAS = "mscrm"
CONTAINER = "System"
BASE_TYPE = "crmbaseentity"
KEYS_VOCABULARY = "OData.Community.Keys.V1"

FUNCTION_RESULTS: dict[str, tuple[tuple[str, str], ...]] = {
    "WhoAmI": (("BusinessUnitId", "Edm.Guid"), ("UserId", "Edm.Guid"), ("OrganizationId", "Edm.Guid")),
    "RetrieveVersion": (("Version", "Edm.String"),),
    "RetrieveAvailableLanguages": (("LocaleIds", "Collection(Edm.Int32)"),),
}
"""Unbound functions with the properties of their responses."""


def metadata_document(catalog: Catalog) -> bytes:
    """The document, UTF-8."""
    root = etree.Element(f"{{{EDMX}}}Edmx", nsmap={"edmx": EDMX}, Version="4.0")
    reference = etree.SubElement(
        root, f"{{{EDMX}}}Reference", Uri="http://vocabularies.odata.org/OData.Community.Keys.V1.xml"
    )
    etree.SubElement(reference, f"{{{EDMX}}}Include", Namespace=KEYS_VOCABULARY, Alias="Keys")
    services = etree.SubElement(root, f"{{{EDMX}}}DataServices")
    schema = etree.SubElement(services, _edm("Schema"), nsmap={None: EDM}, Namespace=NAMESPACE, Alias=ALIAS)
    etree.SubElement(schema, _edm("EntityType"), Name=BASE_TYPE, Abstract="true")
    for table in catalog.tables.values():
        _entity_type(schema, catalog, table)
    for name, properties in FUNCTION_RESULTS.items():
        response = etree.SubElement(schema, _edm("ComplexType"), Name=f"{name}Response")
        for property_name, type_name in properties:
            nullable = {} if type_name.startswith("Collection") else {"Nullable": "false"}
            etree.SubElement(response, _edm("Property"), Name=property_name, Type=type_name, **nullable)
        function = etree.SubElement(schema, _edm("Function"), Name=name)
        etree.SubElement(function, _edm("ReturnType"), Type=f"{ALIAS}.{name}Response", Nullable="false")
    _container(schema, catalog)
    document: bytes = etree.tostring(root, xml_declaration=True, encoding="utf-8")
    return document


def _edm(name: str) -> str:
    return f"{{{EDM}}}{name}"


def _entity_type(schema: etree._Element, catalog: Catalog, table: Table) -> None:
    entity = etree.SubElement(schema, _edm("EntityType"), Name=table.logical_name, BaseType=f"{ALIAS}.{BASE_TYPE}")
    key = etree.SubElement(entity, _edm("Key"))
    etree.SubElement(key, _edm("PropertyRef"), Name=table.primary_id)
    for column in table.columns:
        if column.is_stored:
            _property(entity, table, column)
    for relationship in catalog.lookups_of.get(table.logical_name, {}).values():
        _lookup_navigation(entity, catalog, table, relationship)
    for name, relationship in catalog.collections_of.get(table.logical_name, {}).items():
        if name not in catalog.lookups_of.get(table.logical_name, {}):
            etree.SubElement(
                entity,
                _edm("NavigationProperty"),
                Name=relationship.collection_navigation,
                Type=f"Collection({ALIAS}.{relationship.referencing})",
                Partner=relationship.lookup_navigation,
            )
    if table.keys:
        _alternate_keys(entity, table)


def _property(entity: etree._Element, table: Table, column: Column) -> None:
    facets = {}
    if column.name == table.primary_id:
        facets["Nullable"] = "false"
    if column.max_length is not None and column.type.is_text:
        facets["MaxLength"] = str(column.max_length)
    if column.type in (ColumnType.DECIMAL, ColumnType.MONEY):
        facets["Scale"] = "variable" if column.precision is None else str(column.precision)
    if column.edm == "Edm.String":
        facets["Unicode"] = "false" if column.type is ColumnType.MULTI_SELECT_PICKLIST else "true"
    etree.SubElement(entity, _edm("Property"), Name=column.wire_name, Type=column.edm, **facets)


def _lookup_navigation(entity: etree._Element, catalog: Catalog, table: Table, relationship: OneToMany) -> None:
    navigation = etree.SubElement(
        entity,
        _edm("NavigationProperty"),
        Name=relationship.lookup_navigation,
        Type=f"{ALIAS}.{relationship.referenced}",
        Partner=relationship.collection_navigation,
    )
    etree.SubElement(
        navigation,
        _edm("ReferentialConstraint"),
        Property=table.column[relationship.column].wire_name,
        ReferencedProperty=catalog.table(relationship.referenced).primary_id,
    )


def _alternate_keys(entity: etree._Element, table: Table) -> None:
    annotation = etree.SubElement(entity, _edm("Annotation"), Term="Keys.AlternateKeys")
    collection = etree.SubElement(annotation, _edm("Collection"))
    for key in table.keys:
        record = etree.SubElement(collection, _edm("Record"), Type="Keys.AlternateKey")
        parts = etree.SubElement(etree.SubElement(record, _edm("PropertyValue"), Property="Key"), _edm("Collection"))
        for name in key.columns:
            wire_name = table.column[name].wire_name
            part = etree.SubElement(parts, _edm("Record"), Type="Keys.PropertyRef")
            etree.SubElement(part, _edm("PropertyValue"), Property="Alias", String=wire_name)
            etree.SubElement(part, _edm("PropertyValue"), Property="Name", PropertyPath=wire_name)


def _container(schema: etree._Element, catalog: Catalog) -> None:
    container = etree.SubElement(schema, _edm("EntityContainer"), Name=CONTAINER)
    for table in catalog.tables.values():
        entity_set = etree.SubElement(
            container, _edm("EntitySet"), Name=table.entity_set_name, EntityType=f"{ALIAS}.{table.logical_name}"
        )
        bindings = {
            **{
                r.collection_navigation: r.referencing
                for r in catalog.collections_of.get(table.logical_name, {}).values()
            },
            **{r.lookup_navigation: r.referenced for r in catalog.lookups_of.get(table.logical_name, {}).values()},
        }
        for path, target in bindings.items():
            etree.SubElement(
                entity_set,
                _edm("NavigationPropertyBinding"),
                Path=path,
                Target=catalog.table(target).entity_set_name,
            )
    for name in FUNCTION_RESULTS:
        etree.SubElement(container, _edm("FunctionImport"), Name=name, Function=f"{ALIAS}.{name}")
