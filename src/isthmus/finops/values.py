"""Values of entity fields: what may stand in one, and how JSON and Python's types become it.

F&O has no nulls: null given for a field is the type's "no value".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import msgspec

from isthmus.errors import Rejected
from isthmus.metadata.choice import Enum
from isthmus.metadata.entity import EntityField
from isthmus.metadata.types import FieldType

NO_DATE = date(1900, 1, 1)
NEVER = datetime(2154, 12, 31, 23, 59, 59, tzinfo=UTC)
"""The end of a validity without end."""

NO_VALUE: dict[FieldType, Any] = {
    FieldType.STRING: "",
    FieldType.INT: 0,
    FieldType.INT64: 0,
    FieldType.REAL: Decimal(0),
    FieldType.DATE: NO_DATE,
    FieldType.DATE_TIME: datetime(1900, 1, 1, tzinfo=UTC),
    FieldType.ENUM: 0,
    FieldType.GUID: UUID(int=0),
    FieldType.BOOLEAN: False,
    FieldType.BINARY: b"",
    FieldType.TIME: 0,
}
"""What stands for "no value" of each type."""

NUMBERS = (FieldType.INT, FieldType.INT64, FieldType.REAL, FieldType.ENUM, FieldType.BOOLEAN, FieldType.TIME)
"""Types whose "no value" is a value like any other: a mandatory number may be 0."""

INTEGER_BITS = {FieldType.INT: 31, FieldType.INT64: 63, FieldType.TIME: 31}


def convert(field: EntityField, value: Any, enums: Mapping[str, Enum]) -> Any:
    """`value`, from JSON or in Python's types, as the field holds it.

    Raises Rejected (`type_mismatch`) naming field and value. Real numbers may be text, enums a symbol or the stored
    number; instants are cut to seconds, as F&O's are.
    """
    if value is None:
        return NO_VALUE[field.type]
    try:
        if field.type is FieldType.ENUM:
            return _enum(field, value, enums)
        return _CONVERTERS[field.type](value)
    except (ValueError, TypeError, ArithmeticError):
        raise Rejected(
            f"Field '{field.name}' is of type {field.type.value}; '{str(value)[:100]}' is none.",
            code="type_mismatch",
            field=field.name,
        ) from None


def encode(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as JSON for json_to_recordset."""
    return msgspec.json.encode([{name: _json(value) for name, value in row.items()} for row in rows]).decode()


def _json(value: Any) -> Any:
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    return value.isoformat() if isinstance(value, date | datetime) else value


def _enum(field: EntityField, value: Any, enums: Mapping[str, Enum]) -> int:
    enum = enums.get(field.enum or "")
    if enum is None:
        return _integer(value, 31)
    found = enum.value_of(value) if isinstance(value, str) else None
    if found is None and isinstance(value, str) and value == "":
        found = 0
    if found is None and not isinstance(value, str):
        number = _integer(value, 31)
        found = number if enum.symbol_of(number) is not None or number == NO_VALUE[FieldType.ENUM] else None
    if found is None:
        members = ", ".join(member.symbol for member in enum.members[:20])
        raise Rejected(
            f"Field '{field.name}' has no member '{str(value)[:100]}' in its enum {enum.name}. Members are: {members}.",
            code="enum_member_not_found",
            field=field.name,
        )
    return found


def _integer(value: Any, bits: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal | float):
        raise TypeError
    if isinstance(value, Decimal) and (not value.is_finite() or value.adjusted() > 19):
        raise ValueError
    number = int(value)
    if isinstance(value, float | Decimal) and number != value:
        raise ValueError
    if not -(2**bits) <= number < 2**bits:
        raise ValueError
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise TypeError
    return value


def _real(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise TypeError
    try:
        number = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation:
        raise ValueError from None
    if not number.is_finite() or number.adjusted() > 32:
        raise ValueError
    return number


def _instant(given: Any) -> datetime:
    value = given
    if isinstance(value, str):
        value = msgspec.convert(value, datetime, strict=False) if len(value) > 10 else date.fromisoformat(value)
    if not isinstance(value, datetime):
        value = datetime.combine(_known_date(value), time())
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    instant: datetime = value.astimezone(UTC).replace(microsecond=0)
    _known_date(instant.date())
    return instant


def _date(value: Any) -> date:
    if isinstance(value, str):
        value = date.fromisoformat(value[:10]) if len(value) == 10 else _instant(value)
    return _known_date(value.date() if isinstance(value, datetime) else value)


def _known_date(value: Any) -> date:
    """A date that F&O can hold."""
    if not isinstance(value, date) or not NO_DATE <= value <= NEVER.date():
        raise ValueError
    return value


def _guid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(_text(value))


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _binary(value: Any) -> bytes:
    return value if isinstance(value, bytes) else msgspec.convert(value, bytes)


_CONVERTERS: dict[FieldType, Callable[[Any], Any]] = {
    FieldType.STRING: _text,
    FieldType.INT: lambda value: _integer(value, INTEGER_BITS[FieldType.INT]),
    FieldType.INT64: lambda value: _integer(value, INTEGER_BITS[FieldType.INT64]),
    FieldType.REAL: _real,
    FieldType.DATE: _date,
    FieldType.DATE_TIME: _instant,
    FieldType.GUID: _guid,
    FieldType.BOOLEAN: _boolean,
    FieldType.BINARY: _binary,
    FieldType.TIME: lambda value: _integer(value, INTEGER_BITS[FieldType.TIME]),
}
