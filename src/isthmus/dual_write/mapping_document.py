"""A table map as the JSON of a row of msdyn_dualwriteentitymap, in the shape that admin tools read, and back.

`msdyn_mapping` holds one task with one leg, written from F&O to Dataverse; the other direction uses the same leg with
its `reversedSourceFilter`. What has no place in it (publisher, AOT name, owning team, examples) is in
`msdyn_properties`. Reading back gives the same table map.
"""

from __future__ import annotations

from typing import Any

import msgspec

from isthmus.dual_write.version_number import rank
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.map_path import resolve_path
from isthmus.metadata.table_map import Example, FieldMapping, SyncDirection, TableMap, Transform

FINOPS, DATAVERSE = "AX", "CRM"
"""What the management API calls the two halves."""

_ARROWS = {
    (SyncDirection.BOTH, False): "=",
    (SyncDirection.BOTH, True): "><",
    (SyncDirection.FINOPS_TO_DATAVERSE, False): ">",
    (SyncDirection.FINOPS_TO_DATAVERSE, True): ">>",
    (SyncDirection.DATAVERSE_TO_FINOPS, False): "<",
    (SyncDirection.DATAVERSE_TO_FINOPS, True): "<<",
}
_VERSION_PARTS = ("major", "minor", "build", "revision")


class Properties(msgspec.Struct, kw_only=True, rename="camel"):
    """`msdyn_properties` of a row of ours."""

    publisher: str = ""
    entity: str = ""
    table: str = ""
    owning_team: str = ""
    solution: str = ""
    examples: tuple[Example, ...] = ()


def mapping_json(table_map: TableMap, catalog: Catalog) -> str:
    """`msdyn_mapping` of a table map whose entity and table are in the catalog."""
    return msgspec.json.encode(document(table_map, catalog)).decode()


def properties_json(table_map: TableMap) -> str:
    """`msdyn_properties` of a table map."""
    properties = Properties(
        publisher=table_map.publisher,
        entity=table_map.entity,
        table=table_map.table,
        owning_team=table_map.owning_team,
        solution=table_map.solution,
        examples=table_map.examples,
    )
    return msgspec.json.encode(properties).decode()


def document(table_map: TableMap, catalog: Catalog) -> dict[str, Any]:
    """The shape of `GET {pid}/FieldMappings`, as far as it follows from the definition alone."""
    entity, table = catalog.entity(table_map.entity), catalog.table(table_map.table)
    leg = {
        "id": "0",
        "sourceEnvironment": FINOPS,
        "sourceEnvironmentType": FINOPS,
        "sourceSchema": entity.collection,
        "sourceFilter": table_map.finops_filter,
        "isSourceFilterEditable": True,
        "destinationEnvironment": DATAVERSE,
        "destinationEnvironmentType": DATAVERSE,
        "destinationSchema": table.entity_set_name,
        "reversedSourceFilter": table_map.dataverse_filter,
        "fieldMappings": [_field_mapping(row, table_map, catalog) for row in table_map.rows],
        "deleteNonMatchingData": False,
    }
    key = {
        "name": "userKeys",
        "displayName": "Integration key",
        "fields": list(table_map.integration_key),
        "isIntegrationKey": True,
        "isPrimaryKey": False,
        "isCustomized": False,
        "isHardcoded": False,
    }
    finops_key = {"name": "userKeys", "fields": list(entity.keys), "isIntegrationKey": False, "isPrimaryKey": True}
    return {
        "name": table_map.name,
        "displayName": table_map.name,
        "environments": [
            _environment(FINOPS, entity.collection, entity.label or entity.public_name, finops_key),
            _environment(DATAVERSE, table.entity_set_name, table.display_name, key),
        ],
        "targetTypeList": [FINOPS, DATAVERSE],
        "entityMappingTasks": [
            {
                "name": table_map.name,
                "order": 0,
                "leftEnvironmentType": FINOPS,
                "rightEnvironmentType": DATAVERSE,
                "legs": [leg],
            }
        ],
        "templateIdentifier": {
            "name": table_map.name,
            "displayName": table_map.name,
            "version": version_document(table_map.version),
        },
        "validationIssues": [],
        "isDualWriteProject": True,
        "isDataManagementProject": False,
    }


def version_document(version: str) -> dict[str, int]:
    """A version a.b.c.d as the management API writes it; zeros for what is no version number."""
    return {**dict(zip(_VERSION_PARTS, rank(version), strict=True)), "majorRevision": 0, "minorRevision": 0}


def table_map_of_row(name: str, version: str, mapping: str, properties: str | None, catalog: Catalog) -> TableMap:
    """The table map that a row of msdyn_dualwriteentitymap holds.

    Rejected (`version_unreadable`) when its text is not of that shape, as that of rows which others wrote may be.
    """
    try:
        known = msgspec.convert(_decoded(properties or "{}"), Properties)
        whole = _decoded(mapping)
        leg = whole["entityMappingTasks"][0]["legs"][0]
        rows = tuple(_row(number, row) for number, row in enumerate(leg["fieldMappings"], 1))
        return TableMap(
            name=name,
            entity=known.entity or _entity_called(leg["sourceSchema"], catalog),
            table=known.table or _table_called(leg["destinationSchema"], catalog),
            integration_key=_integration_key(whole),
            rows=rows,
            finops_filter=leg.get("sourceFilter") or "",
            dataverse_filter=leg.get("reversedSourceFilter") or "",
            owning_team=known.owning_team,
            version=version,
            publisher=known.publisher,
            examples=known.examples,
            solution=known.solution,
        )
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Rejected(
            f"Version {version} of table map '{name}' can't be read: msdyn_mapping is not of the known shape "
            f"({type(error).__name__}: {error}). Delete the row, or save the version again.",
            code="version_unreadable",
            table_map=name,
            version=version,
        ) from None


def _decoded(text: str) -> Any:
    """JSON, which other tools sometimes write twice over: as text within text."""
    value = msgspec.json.decode(text)
    return msgspec.json.decode(value) if isinstance(value, str) else value


def _environment(target: str, schema: str, label: str, key: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": target,
        "targetType": target,
        "schemas": [{"name": schema, "displayName": label, "targetType": target, "fields": [], "keys": [key]}],
    }


def _integration_key(whole: dict[str, Any]) -> tuple[str, ...]:
    environment = next(each for each in whole["environments"] if each["targetType"] == DATAVERSE)
    key = next(key for key in environment["schemas"][0]["keys"] if key["name"].lower() in ("userkeys", "userkey"))
    return tuple(key["fields"])


def _field_mapping(row: FieldMapping, table_map: TableMap, catalog: Catalog) -> dict[str, Any]:
    return {
        "syncDirection": int(row.direction),
        "sourceField": row.finops or "",
        "destinationField": row.dataverse or "",
        "valueTransforms": _transforms(row.transform),
        "isSystemGenerated": False,
        "destinationLookupFieldRelatedEntity": _looked_up(row, table_map, catalog),
    }


def _looked_up(row: FieldMapping, table_map: TableMap, catalog: Catalog) -> str | None:
    """The table that the row's path leads to; None for a plain column, or for one that is not there (any more)."""
    if not row.dataverse:
        return None
    try:
        path = resolve_path(row.dataverse, catalog.table(table_map.table), catalog)
    except Rejected:
        return None
    targets = [table for _, table in path.hops[-1:]] + [table for table, _ in path.alternatives]
    return targets[0].logical_name if targets else None


def _transforms(transform: Transform) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if transform.value_map is not None:
        found.append({"transformType": "ValueMap", "valueMap": transform.value_map})
    if transform.constant is not None:
        found.append({"transformType": "Constant", "defaultValue": transform.constant})
    if transform.to_dataverse is not None or transform.to_finops is not None:
        found.append(
            {"transformType": "Expression", "toDestination": transform.to_dataverse, "toSource": transform.to_finops}
        )
    if transform.truncate:
        found.append({"transformType": "Truncate"})
    if transform.default is not None:
        found.append({"transformType": "Default", "defaultValue": transform.default})
    return [{"$type": each["transformType"], **each} for each in found]


def _row(number: int, row: dict[str, Any]) -> FieldMapping:
    transforms = {each["transformType"]: each for each in row.get("valueTransforms") or ()}
    expression = transforms.get("Expression", {})
    value_map = transforms.get("ValueMap", {}).get("valueMap")
    transform = Transform(
        value_map=None if value_map is None else msgspec.convert(value_map, dict[str, str]),
        default=transforms.get("Default", {}).get("defaultValue"),
        constant=transforms.get("Constant", {}).get("defaultValue"),
        truncate="Truncate" in transforms,
        to_dataverse=expression.get("toDestination"),
        to_finops=expression.get("toSource"),
    )
    try:
        direction = SyncDirection(int(row["syncDirection"]))
    except ValueError:
        raise KeyError(f"syncDirection {row['syncDirection']}") from None
    return FieldMapping(
        finops=row.get("sourceField") or None,
        arrow=_ARROWS[direction, not transform.is_plain],
        dataverse=row.get("destinationField") or None,
        transform=transform,
        row=number,
    )


def _entity_called(name: str, catalog: Catalog) -> str:
    """The AOT name of an entity by its collection or label; the name itself when the catalog has none such."""
    entity = catalog.entity_of_collection.get(name.lower())
    if entity is None:
        entity = next((each for each in catalog.entities.values() if each.label.lower() == name.lower()), None)
    return entity.aot_name if entity is not None else name


def _table_called(name: str, catalog: Catalog) -> str:
    table = catalog.table_of_set.get(name.lower())
    return table.logical_name if table is not None else name
