"""Values of columns: their types, lengths, ranges, precision and options, checked and brought to the stored form.

Sources of the behaviour: Dataverse's column types and its error codes (string too long 0x80044331, option not defined
0x8004431A, whole number 0x8004432F and other number 0x80044330 out of range).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from isthmus.apps.message import Message
from isthmus.errors import Rejected
from isthmus.metadata.table import Column, Table
from isthmus.metadata.types import ColumnType

EARLIEST_YEAR = 1753
"""Dataverse's earliest date is 1 January 1753."""

INT32 = (-(2**31), 2**31 - 1)
INT64 = (-(2**63), 2**63 - 1)
MONEY_DECIMALS = 4
DECIMAL_DECIMALS = 10


def check_values(table: Table, message: Message) -> None:
    """Check and normalize the values of every row in place. What was given stays as it was: a value that had to be
    rounded or cut is not what was given, and goes back to a partner that gave it.

    Columns that callers can't write are dropped, as Dataverse drops them. Rejected names column and value.
    """
    for row in message.rows:
        row.values = _checked(table, row.values)


def _checked(table: Table, values: dict[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in values.items():
        column = table.column.get(name)
        if column is None:
            if not _is_type_column(table, name):
                raise unknown_column(table, name)
            checked[name] = value
        elif not column.is_stored:
            raise Rejected(
                f"Column '{name}' of table '{table.logical_name}' is a list of activity parties, which this version "
                "does not store: leave it out.",
                code="column_not_supported",
                table=table.logical_name,
                column=name,
            )
        elif not column.read_only:
            checked[name] = check_value(table, column, value)
    return checked


def check_value(table: Table, column: Column, value: Any) -> Any:
    """A value in the form it is stored in. Rejected names column and value."""
    return None if value is None or value == "" else CHECKS[column.type](table, column, value)


def _is_type_column(table: Table, name: str) -> bool:
    lookup = table.column.get(name.removesuffix("type"))
    return name.endswith("type") and lookup is not None and lookup.is_polymorphic


def unknown_column(table: Table, name: str) -> Rejected:
    """The refusal of a name that is no column of the table."""
    return Rejected(
        f"Table '{table.logical_name}' has no column '{name}'.",
        code="column_not_found",
        table=table.logical_name,
        column=name,
    )


def wrong_type(table: Table, column: Column, value: object, expected: str) -> Rejected:
    """The refusal of a value of another type than the column's."""
    return Rejected(
        f"Column '{column.name}' of table '{table.logical_name}' holds {expected}; {_shown(value)} is none.",
        code="value_type",
        table=table.logical_name,
        column=column.name,
    )


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 60 else text[:60] + "...")


def _text(table: Table, column: Column, value: Any) -> str:
    if not isinstance(value, str):
        raise wrong_type(table, column, value, "text")
    if "\x00" in value:
        raise wrong_type(table, column, value, "text without the character U+0000")
    if column.max_length is not None and len(value) > column.max_length:
        raise Rejected(
            f"The length of the '{column.name}' attribute of the '{table.logical_name}' table is {len(value)}; it must "
            f"not exceed the maximum allowed length of '{column.max_length}': shorten the value.",
            code="text_too_long",
            table=table.logical_name,
            column=column.name,
        )
    return value


def _whole_number(table: Table, column: Column, value: Any) -> int:
    if isinstance(value, Decimal | float) and value == int(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(table, column, value, "a whole number")
    lowest, highest = INT64 if column.type is ColumnType.BIG_INT else INT32
    if not lowest <= value <= highest:
        raise wrong_type(table, column, value, f"a whole number from {lowest} to {highest}")
    _check_range(table, column, value, "integer_out_of_range")
    return value


def _decimal(table: Table, column: Column, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float):
        raise wrong_type(table, column, value, "a decimal number")
    try:
        exact = value if isinstance(value, Decimal) else Decimal(str(value))
        _check_range(table, column, exact, "number_out_of_range")
        default = MONEY_DECIMALS if column.type is ColumnType.MONEY else DECIMAL_DECIMALS
        decimals = column.precision if column.precision is not None else default
        return exact.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    except InvalidOperation:
        raise wrong_type(table, column, value, "a decimal number of up to 28 digits") from None


def _float(table: Table, column: Column, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float):
        raise wrong_type(table, column, value, "a number")
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise wrong_type(table, column, value, "a finite number")
    _check_range(table, column, number, "number_out_of_range")
    return number if column.precision is None else round(number, column.precision)


def _check_range(table: Table, column: Column, value: Any, code: str) -> None:
    if (column.min is not None and value < column.min) or (column.max is not None and value > column.max):
        raise Rejected(
            f"The value {value} of '{column.name}' on a row of table '{table.logical_name}' is outside the valid "
            f"range: it must be {_bounds(column)}.",
            code=code,
            table=table.logical_name,
            column=column.name,
        )


def _bounds(column: Column) -> str:
    """The range of a column in plain digits."""
    lowest, highest = (
        None if bound is None else format(Decimal(str(bound)).normalize(), "f") for bound in (column.min, column.max)
    )
    if lowest is None or highest is None:
        return f"at most {highest}" if lowest is None else f"at least {lowest}"
    return f"from {lowest} to {highest}"


def _boolean(table: Table, column: Column, value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(table, column, value, "true or false")
    return value


def _date_time(table: Table, column: Column, value: Any) -> date | datetime:
    if not isinstance(value, date):
        raise wrong_type(table, column, value, "a date")
    if value.year < EARLIEST_YEAR:
        raise Rejected(
            f"The date {value.isoformat()} of '{column.name}' on a row of table '{table.logical_name}' is earlier than "
            "1 January 1753, the first that can be stored.",
            code="date_out_of_range",
            table=table.logical_name,
            column=column.name,
        )
    if column.is_date_only:
        return value.date() if isinstance(value, datetime) else value
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    # Dataverse stores whole seconds.
    return aware.astimezone(UTC).replace(microsecond=0)


def _choice(table: Table, column: Column, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(table, column, value, "the whole number of an option")
    if column.options and all(option.value != value for option in column.options):
        raise _no_such_option(table, column, value)
    return value


def _choices(table: Table, column: Column, value: Any) -> list[int] | None:
    if not isinstance(value, list) or any(not isinstance(item, int) or isinstance(item, bool) for item in value):
        raise wrong_type(table, column, value, "whole numbers of options, separated by commas")
    defined = {option.value for option in column.options}
    for item in value:
        if defined and item not in defined:
            raise _no_such_option(table, column, item)
    return sorted(set(value)) or None


def _no_such_option(table: Table, column: Column, value: int) -> Rejected:
    accepted = ",".join(str(option.value) for option in column.options)
    return Rejected(
        f"The value {value} of '{column.name}' on a row of table '{table.logical_name}' is outside the valid range. "
        f"Accepted Values: {accepted}",
        code="option_not_found",
        table=table.logical_name,
        column=column.name,
    )


def _uuid(table: Table, column: Column, value: Any) -> UUID:
    if not isinstance(value, UUID):
        raise wrong_type(table, column, value, "a GUID")
    return value


def _bytes(table: Table, column: Column, value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise wrong_type(table, column, value, "binary data")
    return value


CHECKS: dict[ColumnType, Callable[[Table, Column, Any], Any]] = {
    ColumnType.STRING: _text,
    ColumnType.MEMO: _text,
    ColumnType.INTEGER: _whole_number,
    ColumnType.BIG_INT: _whole_number,
    ColumnType.DECIMAL: _decimal,
    ColumnType.MONEY: _decimal,
    ColumnType.DOUBLE: _float,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.DATE_TIME: _date_time,
    ColumnType.PICKLIST: _choice,
    ColumnType.STATE: _choice,
    ColumnType.STATUS: _choice,
    ColumnType.MULTI_SELECT_PICKLIST: _choices,
    ColumnType.LOOKUP: _uuid,
    ColumnType.CUSTOMER: _uuid,
    ColumnType.OWNER: _uuid,
    ColumnType.UNIQUE_IDENTIFIER: _uuid,
    ColumnType.FILE: _uuid,
    ColumnType.IMAGE: _bytes,
}
