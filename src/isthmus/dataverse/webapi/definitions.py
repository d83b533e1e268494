"""Definitions on the wire: EntityDefinitions with Attributes, Keys and relationships, in the shapes of Dataverse.

Each is built as plain JSON values from the catalog when first asked for. Metadata ids are made from names, so that they
are the same in every environment and at every start.
"""

from __future__ import annotations

import uuid
from typing import Any

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.choice import Option
from isthmus.metadata.relationship import OneToMany
from isthmus.metadata.table import AlternateKey, Column, Table
from isthmus.metadata.types import ColumnType

NAMESPACE = uuid.UUID("8b1c39a4-3d0a-5f2b-9d57-6f1f7a1d1c55")
"""Namespace of metadata ids (UUID version 5 of the component's path of names)."""

LANGUAGE = 1033
CRM = "#Microsoft.Dynamics.CRM."

FIRST_CUSTOM_TYPE_CODE = 10_000

_STANDARD_TYPE_CODES = {"account": 1, "contact": 2, "opportunity": 3, "lead": 4, "annotation": 5, "systemuser": 8}

Json = dict[str, Any]

_ATTRIBUTE_KINDS: dict[ColumnType, str] = {
    ColumnType.STRING: "String",
    ColumnType.MEMO: "Memo",
    ColumnType.INTEGER: "Integer",
    ColumnType.BIG_INT: "BigInt",
    ColumnType.DECIMAL: "Decimal",
    ColumnType.DOUBLE: "Double",
    ColumnType.MONEY: "Money",
    ColumnType.BOOLEAN: "Boolean",
    ColumnType.DATE_TIME: "DateTime",
    ColumnType.PICKLIST: "Picklist",
    ColumnType.STATE: "State",
    ColumnType.STATUS: "Status",
    ColumnType.MULTI_SELECT_PICKLIST: "MultiSelectPicklist",
    ColumnType.LOOKUP: "Lookup",
    ColumnType.CUSTOMER: "Lookup",
    ColumnType.OWNER: "Lookup",
    ColumnType.UNIQUE_IDENTIFIER: "UniqueIdentifier",
    ColumnType.PARTY_LIST: "Lookup",
    ColumnType.FILE: "File",
    ColumnType.IMAGE: "Image",
}
"""Which kind of AttributeMetadata describes a column of each type."""

_TYPE_NAMES = {
    ColumnType.UNIQUE_IDENTIFIER: "UniqueidentifierType",
    ColumnType.MULTI_SELECT_PICKLIST: "MultiSelectPicklistType",
    ColumnType.FILE: "FileType",
    ColumnType.IMAGE: "ImageType",
}

_VIRTUAL = (ColumnType.MULTI_SELECT_PICKLIST, ColumnType.FILE, ColumnType.IMAGE)
"""Types whose AttributeType is Virtual; their AttributeTypeName tells them apart."""


def metadata_id(*names: str) -> str:
    """The stable id of a component."""
    return str(uuid.uuid5(NAMESPACE, "/".join(names)))


def is_custom(name: str) -> bool:
    """Whether a component's name starts with a publisher's prefix; `address1_city` only looks like it."""
    prefix, underscore, _ = name.partition("_")
    return bool(underscore) and not prefix.startswith("address")


def label(text: str) -> Json:
    """A label in the one language there is."""
    one = {
        "Label": text,
        "LanguageCode": LANGUAGE,
        "IsManaged": True,
        "MetadataId": metadata_id("label", text),
        "HasChanged": None,
    }
    return {"LocalizedLabels": [one], "UserLocalizedLabel": one} if text else _NO_LABEL


_NO_LABEL: Json = {"LocalizedLabels": [], "UserLocalizedLabel": None}


def _managed(value: bool | str, name: str) -> Json:
    return {"Value": value, "CanBeChanged": True, "ManagedPropertyLogicalName": name}


def entity_definition(catalog: Catalog, table: Table) -> Json:
    """EntityMetadata of a table, with what `$expand` can ask for under its name."""
    return {
        "MetadataId": metadata_id(table.logical_name),
        "LogicalName": table.logical_name,
        "SchemaName": table.schema_name,
        "EntitySetName": table.entity_set_name,
        "LogicalCollectionName": table.entity_set_name,
        "CollectionSchemaName": table.schema_name + "s",
        "DisplayName": label(table.display_name),
        "DisplayCollectionName": label(table.display_name),
        "Description": _NO_LABEL,
        "PrimaryIdAttribute": table.primary_id,
        "PrimaryNameAttribute": table.primary_name,
        "ObjectTypeCode": _type_code(catalog, table),
        "OwnershipType": table.ownership,
        "TableType": "Standard",
        "IsActivity": table.is_activity,
        "IsCustomEntity": is_custom(table.logical_name),
        "IsManaged": True,
        "IsPrivate": False,
        "IsIntersect": False,
        "IsLogicalEntity": False,
        "IsValidForAdvancedFind": True,
        "IsCustomizable": _managed(True, "iscustomizable"),
        "HasActivities": False,
        "HasNotes": False,
        "ChangeTrackingEnabled": False,
        "CanTriggerWorkflow": False,
        "IsEnabledForCharts": True,
        "IntroducedVersion": "1.0.0.0",
        "DataProviderId": None,
        "DataSourceId": None,
        "ExternalName": None,
        "ExternalCollectionName": None,
    }


def _type_code(catalog: Catalog, table: Table) -> int:
    standard = _STANDARD_TYPE_CODES.get(table.logical_name)
    return standard or FIRST_CUSTOM_TYPE_CODE + sorted(catalog.tables).index(table.logical_name)


def attribute(table: Table, column: Column, number: int) -> Json:
    """AttributeMetadata of a column, of the derived type that fits it. `OptionSet` is there to be expanded."""
    kind = _ATTRIBUTE_KINDS[column.type]
    common: Json = {
        "@odata.type": f"{CRM}{kind}AttributeMetadata",
        "MetadataId": metadata_id(table.logical_name, column.name),
        "LogicalName": column.name,
        "SchemaName": column.name,
        "EntityLogicalName": table.logical_name,
        "AttributeType": "Virtual" if column.type in _VIRTUAL else str(column.type),
        "AttributeTypeName": {"Value": _TYPE_NAMES.get(column.type, f"{column.type}Type")},
        "DisplayName": label(column.display_name),
        "Description": _NO_LABEL,
        "RequiredLevel": _managed(column.required_level, "canmodifyrequirementlevelsettings"),
        "ColumnNumber": number,
        "AttributeOf": None,
        "IsPrimaryId": column.name == table.primary_id,
        "IsPrimaryName": column.name == table.primary_name,
        "IsCustomAttribute": is_custom(column.name),
        "IsLogical": False,
        "IsManaged": True,
        "IsValidForRead": column.is_stored,
        "IsValidForCreate": column.is_stored and not column.read_only,
        "IsValidForUpdate": column.is_stored and not column.read_only and column.name != table.primary_id,
        "IsValidODataAttribute": column.is_stored,
        "IsFilterable": column.is_stored,
        "IsSearchable": column.type.is_text,
        "IsSecured": False,
        "IsCustomizable": _managed(True, "iscustomizable"),
        "IntroducedVersion": "1.0.0.0",
    }
    return common | _of_kind(table, column)


def _of_kind(table: Table, column: Column) -> Json:
    """What only attributes of this kind have."""
    match column.type:
        case ColumnType.STRING | ColumnType.MEMO:
            form = column.format or ("TextArea" if column.type is ColumnType.MEMO else "Text")
            return {"MaxLength": column.max_length, "Format": form, "FormatName": {"Value": form}}
        case ColumnType.INTEGER:
            return {"MinValue": _whole(column.min), "MaxValue": _whole(column.max), "Format": column.format or "None"}
        case ColumnType.BIG_INT:
            return {"MinValue": _whole(column.min), "MaxValue": _whole(column.max)}
        case ColumnType.DECIMAL | ColumnType.DOUBLE | ColumnType.MONEY:
            return {"MinValue": column.min, "MaxValue": column.max, "Precision": column.precision}
        case ColumnType.DATE_TIME:
            behavior = "DateOnly" if column.is_date_only else "UserLocal"
            form = "DateOnly" if column.is_date_only else "DateAndTime"
            return {"Format": form, "DateTimeBehavior": {"Value": behavior}}
        case ColumnType.LOOKUP | ColumnType.CUSTOMER | ColumnType.OWNER | ColumnType.PARTY_LIST:
            return {"Targets": list(column.targets)}
        case ColumnType.BOOLEAN:
            return {"DefaultValue": column.default, "OptionSet": option_set(table, column), "GlobalOptionSet": None}
    if column.type.is_choice or column.type is ColumnType.MULTI_SELECT_PICKLIST:
        default = column.default if isinstance(column.default, int) else -1
        return {"DefaultFormValue": default, "OptionSet": option_set(table, column), "GlobalOptionSet": None}
    return {}


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def option_set(table: Table, column: Column) -> Json:
    """OptionSetMetadata of a choice, BooleanOptionSetMetadata of a yes/no column."""
    name = f"{table.logical_name}_{column.name}"
    common: Json = {
        "MetadataId": metadata_id(table.logical_name, column.name, "options"),
        "Name": name,
        "DisplayName": label(column.display_name),
        "Description": _NO_LABEL,
        "IsGlobal": False,
        "IsManaged": True,
        "IsCustomOptionSet": is_custom(column.name),
    }
    if column.type is ColumnType.BOOLEAN:
        labels = {option.value: option.label for option in column.options}
        return {
            "@odata.type": f"{CRM}BooleanOptionSetMetadata",
            **common,
            "OptionSetType": "Boolean",
            "TrueOption": _option(Option(1, labels.get(1, "Yes"))),
            "FalseOption": _option(Option(0, labels.get(0, "No"))),
        }
    kind = str(column.type) if column.type in (ColumnType.STATE, ColumnType.STATUS) else "Picklist"
    return {
        "@odata.type": f"{CRM}OptionSetMetadata",
        **common,
        "OptionSetType": kind,
        "Options": [_option(option) for option in column.options],
    }


def _option(option: Option) -> Json:
    state: Json = {} if option.state is None else {"State": option.state}
    return {
        "@odata.type": f"{CRM}{'OptionMetadata' if option.state is None else 'StatusOptionMetadata'}",
        "Value": option.value,
        "Label": label(option.label),
        "Description": _NO_LABEL,
        "Color": None,
        "IsManaged": True,
        "ExternalValue": None,
        **state,
    }


def entity_key(table: Table, key: AlternateKey) -> Json:
    """EntityKeyMetadata of an alternate key."""
    return {
        "MetadataId": metadata_id(table.logical_name, "key", key.name),
        "LogicalName": key.name,
        "SchemaName": key.name,
        "EntityLogicalName": table.logical_name,
        "DisplayName": label(key.name),
        "KeyAttributes": list(key.columns),
        "EntityKeyIndexStatus": "Active",
        "IsManaged": True,
        "IntroducedVersion": "1.0.0.0",
    }


def one_to_many(catalog: Catalog, relationship: OneToMany) -> Json:
    """OneToManyRelationshipMetadata; many-to-one is the same seen from the other end."""
    cascade = relationship.cascade
    return {
        "@odata.type": f"{CRM}OneToManyRelationshipMetadata",
        "MetadataId": metadata_id(
            "relationship", relationship.schema_name, relationship.referencing, relationship.referenced
        ),
        "SchemaName": relationship.schema_name,
        "RelationshipType": "OneToManyRelationship",
        "ReferencedEntity": relationship.referenced,
        "ReferencedAttribute": catalog.table(relationship.referenced).primary_id,
        "ReferencingEntity": relationship.referencing,
        "ReferencingAttribute": relationship.column,
        "ReferencedEntityNavigationPropertyName": relationship.collection_navigation,
        "ReferencingEntityNavigationPropertyName": relationship.lookup_navigation,
        "CascadeConfiguration": {
            "Assign": cascade.assign,
            "Delete": cascade.delete,
            "Merge": cascade.merge,
            "Reparent": cascade.reparent,
            "Share": cascade.share,
            "Unshare": cascade.unshare,
            "RollupView": "NoCascade",
        },
        "IsCustomRelationship": is_custom(relationship.column),
        "IsManaged": True,
        "IsHierarchical": False,
        "IsValidForAdvancedFind": True,
        "SecurityTypes": "None",
        "IntroducedVersion": "1.0.0.0",
    }
