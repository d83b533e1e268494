"""Values of a projection, which travel as JSON, in the Python types that messages carry."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from isthmus.metadata.entity import Entity
from isthmus.metadata.table import Column
from isthmus.metadata.types import ColumnType, FieldType


def column_value(column: Column, value: Any) -> Any:
    """The value of a Dataverse column: UUID, Decimal, date, datetime with zone, or what JSON already says."""
    if value is None:
        return None
    if column.type.is_decimal:
        return Decimal(value)
    if column.is_date_only:
        return date.fromisoformat(value)
    if column.type is ColumnType.DATE_TIME:
        return datetime.fromisoformat(value)
    if column.type.is_lookup or column.type is ColumnType.UNIQUE_IDENTIFIER:
        return UUID(value)
    return value


def field_values(entity: Entity, values: dict[str, Any]) -> dict[str, Any]:
    """The values of an F&O record by lower-case field, typed by its fields."""
    return {name: _field_value(entity.field[name].type, value) for name, value in values.items()}


def _field_value(field_type: FieldType, value: Any) -> Any:
    if field_type is FieldType.REAL:
        return Decimal(value)
    if field_type is FieldType.DATE:
        return date.fromisoformat(value)
    if field_type is FieldType.DATE_TIME:
        return datetime.fromisoformat(value)
    if field_type is FieldType.GUID:
        return UUID(value)
    return value
