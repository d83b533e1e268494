"""$metadata: every name in it leads somewhere."""

from __future__ import annotations

from collections import Counter

from lxml import etree
from tests.finops.conftest import Served

from isthmus.finops.odata.csdl import EDM, metadata_document
from isthmus.metadata.catalog import Catalog

NAMESPACE = "Microsoft.Dynamics.DataEntities"


def schema(document: bytes) -> etree._Element:
    found = etree.fromstring(document).find(f".//{{{EDM}}}Schema")
    assert found is not None
    return found


async def test_it_is_served_as_xml(api: Served) -> None:
    answer = await api("GET", "$metadata")
    assert answer.headers["content-type"] == "application/xml"
    assert schema(answer.content).get("Namespace") == NAMESPACE


def test_every_type_and_property_named_is_declared(catalog: Catalog) -> None:
    root = schema(metadata_document(catalog))
    types = {element.get("Name"): element for element in root if element.tag.endswith("EntityType")}
    enums = {element.get("Name") for element in root if element.tag.endswith("EnumType")}
    assert len(types) == len(catalog.entities)
    declared = {f"{NAMESPACE}.{name}" for name in (*types, *enums)}
    for element in root.iter():
        for attribute in ("Type", "EntityType"):
            name = (element.get(attribute) or "").removeprefix("Collection(").removesuffix(")")
            assert not name.startswith(NAMESPACE) or name in declared, name
    for name, element in types.items():
        properties = [child.get("Name") for child in element if "Property" in child.tag]
        assert not [repeated for repeated, count in Counter(properties).items() if count > 1], name
        keys = [key.get("Name") for key in element.iter(f"{{{EDM}}}PropertyRef")]
        assert keys and set(keys) <= set(properties)
        for constraint in element.iter(f"{{{EDM}}}ReferentialConstraint"):
            assert constraint.get("Property") in properties


def test_enums_that_no_field_uses_are_left_out(catalog: Catalog) -> None:
    used = {field.enum for entity in catalog.entities.values() for field in entity.fields}
    root = schema(metadata_document(catalog))
    enums = {element.get("Name") for element in root if element.tag.endswith("EnumType")}
    assert "NoYes" in enums
    assert enums <= used


def test_each_entity_set_binds_its_navigation_properties(catalog: Catalog) -> None:
    root = schema(metadata_document(catalog))
    sets = {element.get("Name") for element in root.iter(f"{{{EDM}}}EntitySet")}
    assert sets == {entity.collection for entity in catalog.entities.values()}
    for binding in root.iter(f"{{{EDM}}}NavigationPropertyBinding"):
        assert binding.get("Target") in sets
