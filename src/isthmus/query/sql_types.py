"""How the kinds of the query model are bound in SQL, and what stands for null where null is unknown."""

from __future__ import annotations

from isthmus.query.model import Kind

SQL_TYPE: dict[Kind, str] = {
    Kind.TEXT: "text",
    Kind.INTEGER: "bigint",
    Kind.BIG_INT: "bigint",
    Kind.DECIMAL: "numeric",
    Kind.DOUBLE: "double precision",
    Kind.BOOLEAN: "boolean",
    Kind.UUID: "uuid",
    Kind.TIMESTAMP: "timestamptz",
    Kind.DATE: "date",
    Kind.CHOICE: "integer",
    Kind.CHOICES: "integer[]",
    Kind.ENUM: "integer",
    Kind.BINARY: "bytea",
}
"""Type of a bound value. Whole numbers are bound with 64 bits, so that none is too large for a 32 bit column."""

NO_VALUE: dict[Kind, str] = {
    Kind.TEXT: "''",
    Kind.INTEGER: "0",
    Kind.BIG_INT: "0",
    Kind.DECIMAL: "0",
    Kind.DOUBLE: "0",
    Kind.BOOLEAN: "false",
    Kind.UUID: "uuid '00000000-0000-0000-0000-000000000000'",
    Kind.TIMESTAMP: "timestamptz '1900-01-01 00:00:00+00'",
    Kind.DATE: "date '1900-01-01'",
    Kind.CHOICE: "0",
    Kind.CHOICES: "'{}'::integer[]",
    Kind.ENUM: "0",
    Kind.BINARY: "''::bytea",
}
"""What stands for null in a relation that knows none."""
