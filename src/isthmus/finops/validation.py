"""What a record must fulfil before anything is written: F&O's validateField and validateWrite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.errors import Rejected
from isthmus.finops.data_sources import COMPANY, DataSources
from isthmus.finops.values import NO_VALUE, NUMBERS, convert
from isthmus.metadata.choice import Enum
from isthmus.metadata.entity import EntityField


def convert_values(sources: DataSources, row: Row, enums: Mapping[str, Enum]) -> None:
    """Bring a row's values to the types of their fields, and drop those that no write may set.

    Raises Rejected (`property_not_found`, `type_mismatch`, `enum_member_not_found`).
    """
    converted: dict[str, Any] = {}
    for name, value in row.values.items():
        if name == COMPANY and sources.root.table.company_specific:
            converted[name] = str(value or "").lower()
            continue
        binding = sources.fields.get(name)
        if binding is None:
            raise Rejected(
                f"The property '{name}' does not exist on type '{sources.entity.public_name}'.",
                code="property_not_found",
                field=name,
            )
        if not binding.field.read_only and not binding.is_system:
            converted[name] = convert(binding.field, value, enums)
    row.values = converted


def validate(sources: DataSources, message: Message) -> None:
    """Check lengths, and that mandatory fields have a value.

    Raises Rejected (`value_too_long`, `mandatory_field_missing`, `entity_read_only`).
    """
    if sources.entity.read_only:
        raise Rejected(
            f"The entity {sources.entity.public_name} is read-only. Write through the entity that owns the records.",
            code="entity_read_only",
        )
    mandatory = [field for field in sources.entity.fields if field.mandatory and field.column != COMPANY]
    for row in message.rows:
        for name, value in row.values.items():
            binding = sources.fields.get(name)
            if binding is not None and isinstance(value, str):
                _check_length(binding.field, value)
        for field in mandatory:
            _check_mandatory(field, row, message.operation)


def _check_length(field: EntityField, value: str) -> None:
    if field.max_length is not None and len(value) > field.max_length:
        raise Rejected(
            f"Field '{field.name}' holds {field.max_length} characters at most; the value has {len(value)}. Cut it.",
            code="value_too_long",
            field=field.name,
        )


def _check_mandatory(field: EntityField, row: Row, operation: Operation) -> None:
    """A number may be 0: only text, dates and GUIDs are empty."""
    if field.type in NUMBERS or (operation is Operation.UPDATE and field.column not in row.values):
        return
    if row.values.get(field.column, NO_VALUE[field.type]) == NO_VALUE[field.type]:
        raise Rejected(
            f"Field '{field.name}' must be filled in.",
            code="mandatory_field_missing",
            field=field.name,
        )
