"""The checks of `behaviour.values` said in SQL, for rows that are written without passing through Python.

`check_value` stays the rule: a value that is refused here is given to it for its words.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from isthmus.dataverse.behaviour.values import DECIMAL_DECIMALS, EARLIEST_YEAR, INT64, MONEY_DECIMALS
from isthmus.metadata.table import Column
from isthmus.metadata.types import ColumnType
from isthmus.query.quoting import quote_literal

MAX_DIGITS = 28
"""Digits that a decimal number may have, those behind the point included."""

UNSUPPORTED = (ColumnType.MULTI_SELECT_PICKLIST, ColumnType.IMAGE, ColumnType.PARTY_LIST)
"""Types whose values only Python checks."""


def stored_sql(column: Column, value: str) -> str:
    """SQL of the form a value is stored in."""
    if column.type.is_text:
        return f"nullif({value}, '')"
    if column.type.is_decimal:
        return f"round({value}, {_decimals(column)})"
    if column.type is ColumnType.DOUBLE and column.precision is not None:
        return f"round({value}::numeric, {column.precision})::double precision"
    if column.type is ColumnType.DATE_TIME and not column.is_date_only:
        return f"date_trunc('second', {value})"
    return value


def is_rounded(column: Column) -> bool:
    """Whether the stored form may hold less than the value."""
    return stored_sql(column, "v") != "v" and not column.type.is_text


def refused_sql(column: Column, value: str) -> str | None:
    """SQL of a condition that holds for values that are refused; None where all are taken."""
    conditions = []
    if column.type.is_text and column.max_length is not None:
        conditions.append(f"char_length({value}) > {column.max_length}")
    if column.type.is_number:
        conditions += [
            f"{value} {sign} {_number(bound)}"
            for sign, bound in (("<", column.min), (">", column.max))
            if bound is not None
        ]
    if column.type.is_decimal:
        conditions.append(f"abs({value}) >= 1e{MAX_DIGITS - _decimals(column)}")
    if column.type is ColumnType.DOUBLE:
        conditions.append(f"{value} in ('NaN', 'Infinity', '-Infinity')")
    if column.type is ColumnType.DATE_TIME:
        kind = "date" if column.is_date_only else "timestamptz"
        conditions.append(f"{value} < {kind} '{EARLIEST_YEAR}-01-01'")
    if column.type.is_choice and column.options:
        conditions.append(f"{value} not in ({', '.join(str(option.value) for option in column.options)})")
    return " or ".join(conditions) or None


def literal(column: Column, value: Any) -> str:
    """A constant of the column's definition as SQL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{quote_literal(str(value))}::{column.postgres}"


def _decimals(column: Column) -> int:
    default = MONEY_DECIMALS if column.type is ColumnType.MONEY else DECIMAL_DECIMALS
    return column.precision if column.precision is not None else default


def _number(bound: float) -> str:
    """A bound in plain digits, so that PostgreSQL compares exactly."""
    exact = Decimal(str(bound))
    return format(exact, "f") if abs(exact) <= INT64[1] else f"{exact}"
