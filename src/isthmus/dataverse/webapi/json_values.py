"""Values as they stand in JSON and in addresses, turned into Python's types by the column they are for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from isthmus.dataverse.behaviour.values import wrong_type
from isthmus.metadata.table import Column, Table
from isthmus.metadata.types import ColumnType

MAX_NUMBER_CHARACTERS = 64


def from_json(table: Table, column: Column, value: Any) -> Any:
    """The Python value of a JSON value; Rejected (`value_type`) names the column. None is null.

    Lengths, ranges and options are checked later, with the message.
    """
    if value is None:
        return None
    reader = _READERS.get(column.type)
    if reader is None:
        return value
    try:
        return reader(column, value)
    except (ValueError, TypeError, InvalidOperation, OverflowError, binascii.Error):
        raise wrong_type(table, column, value, _EXPECTED[column.type]) from None


def _moment(column: Column, value: Any) -> date | datetime:
    """ISO 8601, with or without zone; a date-only column takes the date as it is written, whatever the zone."""
    if column.is_date_only:
        datetime.fromisoformat(value)
        return date.fromisoformat(value[:10])
    moment = datetime.fromisoformat(value)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _decimal(_: Column, value: Any) -> Decimal:
    if isinstance(value, bool) or (isinstance(value, str) and len(value) > MAX_NUMBER_CHARACTERS):
        raise ValueError
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError
    return number


def _whole_number(_: Column, value: Any) -> int:
    if isinstance(value, str) and len(value) <= MAX_NUMBER_CHARACTERS:
        return int(value)
    if isinstance(value, Decimal):
        if not value.is_finite() or value.adjusted() > MAX_NUMBER_CHARACTERS or value != value.to_integral_value():
            raise ValueError
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError


def _options(_: Column, value: Any) -> list[int]:
    if isinstance(value, str):
        return [int(part) for part in value.split(",") if part.strip()]
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    raise ValueError


def _uuid(_: Column, value: Any) -> UUID:
    if not isinstance(value, str):
        raise ValueError
    return UUID(value)


def _bytes(_: Column, value: Any) -> bytes:
    return base64.b64decode(value, validate=True)


_READERS: dict[ColumnType, Callable[[Column, Any], Any]] = {
    ColumnType.DATE_TIME: _moment,
    ColumnType.INTEGER: _whole_number,
    ColumnType.BIG_INT: _whole_number,
    ColumnType.DECIMAL: _decimal,
    ColumnType.MONEY: _decimal,
    ColumnType.DOUBLE: _decimal,
    ColumnType.MULTI_SELECT_PICKLIST: _options,
    ColumnType.LOOKUP: _uuid,
    ColumnType.CUSTOMER: _uuid,
    ColumnType.OWNER: _uuid,
    ColumnType.UNIQUE_IDENTIFIER: _uuid,
    ColumnType.FILE: _uuid,
    ColumnType.IMAGE: _bytes,
}

_EXPECTED: dict[ColumnType, str] = {
    ColumnType.DATE_TIME: "a date such as 2024-12-31T23:59:59Z, or 2024-12-31 where it has no time",
    ColumnType.INTEGER: "a whole number",
    ColumnType.BIG_INT: "a whole number",
    ColumnType.DECIMAL: "a decimal number",
    ColumnType.MONEY: "a decimal number",
    ColumnType.DOUBLE: "a number",
    ColumnType.MULTI_SELECT_PICKLIST: 'whole numbers of options in one text, such as "1,3"',
    ColumnType.LOOKUP: "the GUID of a row",
    ColumnType.CUSTOMER: "the GUID of a row",
    ColumnType.OWNER: "the GUID of a row",
    ColumnType.UNIQUE_IDENTIFIER: "a GUID",
    ColumnType.FILE: "a GUID",
    ColumnType.IMAGE: "binary data in base64",
}
