"""Environments and schemas in the shape of the management calls: entities and tables with their fields and keys."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from isthmus.dual_write.mapping_document import DATAVERSE, FINOPS
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity, EntityField
from isthmus.metadata.table import Column, Table
from isthmus.metadata.table_map import TableMap

Document = dict[str, Any]


def environments(table_maps: Collection[TableMap], catalog: Catalog, name: str, base: str) -> list[Document]:
    """Both halves, with the schemas that these table maps join; `base` is the address of the environment."""
    entities = {table_map.entity: None for table_map in table_maps}
    tables = {table_map.table: table_map.integration_key for table_map in table_maps}
    finops = [_entity_schema(catalog.entity(entity)) for entity in entities]
    dataverse = [_table_schema(catalog.table(table), key) for table, key in tables.items()]
    return [
        _environment(FINOPS, finops, name, base),
        _environment(DATAVERSE, dataverse, name, f"{base}/api/data/v9.2"),
    ]


def _environment(kind: str, schemas: list[Document], name: str, address: str) -> Document:
    return {
        "name": kind,
        "targetType": kind,
        "connectionSetName": name,
        "connectionDisplayName": name,
        "environmentDisplayName": name,
        "powerAppsEnvironment": name,
        "directUrl": address,
        "sharedEnums": [],
        "needsIntegrationKey": kind == DATAVERSE,
        "bypassApiHubConnector": True,
        "isDevInstance": False,
        "schemas": schemas,
    }


def _entity_schema(entity: Entity) -> Document:
    return {
        "name": entity.collection,
        "displayName": entity.label or entity.public_name,
        "targetType": FINOPS,
        "fields": [_entity_field(field) for field in entity.fields],
        "keys": [_key("EntityKey", entity.keys, primary=True)],
    }


def _table_schema(table: Table, integration_key: Collection[str]) -> Document:
    return {
        "name": table.entity_set_name,
        "displayName": table.display_name,
        "targetType": DATAVERSE,
        "fields": [_column(column) for column in table.columns],
        "keys": [
            _key("userKeys", integration_key, integration=True),
            _key("PrimaryKey", [table.primary_id], primary=True),
            *(_key(key.name, key.columns) for key in table.keys),
        ],
        "primaryCompanyContextField": table.company_column,
        "companyContextFields": [table.company_column] if table.company_column else [],
    }


def _entity_field(field: EntityField) -> Document:
    return {
        "name": field.name.upper(),
        "displayName": field.name,
        "isRequired": field.mandatory,
        "isRetrievable": True,
        "isReadonly": field.read_only,
        "typeDetails": {"type": str(field.type), "length": field.max_length},
    }


def _column(column: Column) -> Document:
    return {
        "name": column.name,
        "displayName": column.display_name or column.name,
        "isRequired": column.required_level != "None",
        "isRetrievable": column.is_stored,
        "isReadonly": column.read_only,
        "typeDetails": {
            "type": str(column.type),
            "length": column.max_length,
            "precision": column.precision,
            "minimumValue": column.min,
            "maximumValue": column.max,
            "isDateOnly": column.is_date_only,
            "relatedEntity": column.targets[0] if column.targets else None,
        },
    }


def _key(name: str, fields: Collection[str], *, integration: bool = False, primary: bool = False) -> Document:
    return {
        "name": name,
        "displayName": name,
        "fields": list(fields),
        "isIntegrationKey": integration,
        "isPrimaryKey": primary,
        "isCustomized": False,
        "isHardcoded": False,
    }
