"""Data types of both halves in one table: Dataverse type, Edm type, PostgreSQL type, F&O type and its "no value"."""

from __future__ import annotations

from enum import StrEnum


class ColumnType(StrEnum):
    """Types of Dataverse columns, spelled as AttributeTypeCode."""

    STRING = "String"
    MEMO = "Memo"
    INTEGER = "Integer"
    BIG_INT = "BigInt"
    DECIMAL = "Decimal"
    DOUBLE = "Double"
    MONEY = "Money"
    BOOLEAN = "Boolean"
    DATE_TIME = "DateTime"
    PICKLIST = "Picklist"
    STATE = "State"
    STATUS = "Status"
    MULTI_SELECT_PICKLIST = "MultiSelectPicklist"
    LOOKUP = "Lookup"
    CUSTOMER = "Customer"
    OWNER = "Owner"
    UNIQUE_IDENTIFIER = "Uniqueidentifier"
    PARTY_LIST = "PartyList"
    FILE = "File"
    IMAGE = "Image"

    @property
    def is_lookup(self) -> bool:
        """Whether the column holds the id of another row."""
        return self in (ColumnType.LOOKUP, ColumnType.CUSTOMER, ColumnType.OWNER)

    @property
    def is_choice(self) -> bool:
        """Whether the column holds one option value of a choice."""
        return self in (ColumnType.PICKLIST, ColumnType.STATE, ColumnType.STATUS)

    @property
    def is_number(self) -> bool:
        """Whether the column holds a number."""
        return self.is_decimal or self in (ColumnType.INTEGER, ColumnType.BIG_INT, ColumnType.DOUBLE)

    @property
    def is_decimal(self) -> bool:
        """Whether the column holds decimal digits, of which none may be lost on the way."""
        return self in (ColumnType.DECIMAL, ColumnType.MONEY)

    @property
    def is_text(self) -> bool:
        """Whether the column holds text."""
        return self in (ColumnType.STRING, ColumnType.MEMO)


class FieldType(StrEnum):
    """Types of fields of F&O tables and data entities."""

    STRING = "string"
    INT = "int"
    INT64 = "int64"
    REAL = "real"
    DATE = "date"
    DATE_TIME = "datetime"
    ENUM = "enum"
    GUID = "guid"
    BOOLEAN = "boolean"
    BINARY = "binary"
    TIME = "time"


COLUMN_EDM: dict[ColumnType, str] = {
    ColumnType.STRING: "Edm.String",
    ColumnType.MEMO: "Edm.String",
    ColumnType.INTEGER: "Edm.Int32",
    ColumnType.BIG_INT: "Edm.Int64",
    ColumnType.DECIMAL: "Edm.Decimal",
    ColumnType.DOUBLE: "Edm.Double",
    ColumnType.MONEY: "Edm.Decimal",
    ColumnType.BOOLEAN: "Edm.Boolean",
    ColumnType.DATE_TIME: "Edm.DateTimeOffset",
    ColumnType.PICKLIST: "Edm.Int32",
    ColumnType.STATE: "Edm.Int32",
    ColumnType.STATUS: "Edm.Int32",
    ColumnType.MULTI_SELECT_PICKLIST: "Edm.String",
    ColumnType.LOOKUP: "Edm.Guid",
    ColumnType.CUSTOMER: "Edm.Guid",
    ColumnType.OWNER: "Edm.Guid",
    ColumnType.UNIQUE_IDENTIFIER: "Edm.Guid",
    ColumnType.FILE: "Edm.Guid",
    ColumnType.IMAGE: "Edm.Binary",
}
"""Edm type of each Dataverse type; a DateOnly column is Edm.Date. PartyList has none: it is a collection of rows."""

COLUMN_POSTGRES: dict[ColumnType, str] = {
    ColumnType.STRING: "text",
    ColumnType.MEMO: "text",
    ColumnType.INTEGER: "integer",
    ColumnType.BIG_INT: "bigint",
    ColumnType.DECIMAL: "numeric",
    ColumnType.DOUBLE: "double precision",
    ColumnType.MONEY: "numeric",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.DATE_TIME: "timestamptz",
    ColumnType.PICKLIST: "integer",
    ColumnType.STATE: "integer",
    ColumnType.STATUS: "integer",
    ColumnType.MULTI_SELECT_PICKLIST: "integer[]",
    ColumnType.LOOKUP: "uuid",
    ColumnType.CUSTOMER: "uuid",
    ColumnType.OWNER: "uuid",
    ColumnType.UNIQUE_IDENTIFIER: "uuid",
    ColumnType.FILE: "uuid",
    ColumnType.IMAGE: "bytea",
}
"""PostgreSQL type of each stored Dataverse type; a DateOnly column is date."""

FIELD_EDM: dict[FieldType, str] = {
    FieldType.STRING: "Edm.String",
    FieldType.INT: "Edm.Int32",
    FieldType.INT64: "Edm.Int64",
    FieldType.REAL: "Edm.Decimal",
    FieldType.DATE: "Edm.DateTimeOffset",
    FieldType.DATE_TIME: "Edm.DateTimeOffset",
    FieldType.GUID: "Edm.Guid",
    FieldType.BOOLEAN: "Edm.Boolean",
    FieldType.BINARY: "Edm.Binary",
    FieldType.TIME: "Edm.Int32",
}
"""Edm type of each F&O type; an enum field has its enum's own type. Dates are DateTimeOffset on the wire, as in F&O."""

FIELD_POSTGRES: dict[FieldType, str] = {
    FieldType.STRING: "text",
    FieldType.INT: "integer",
    FieldType.INT64: "bigint",
    FieldType.REAL: "numeric",
    FieldType.DATE: "date",
    FieldType.DATE_TIME: "timestamptz",
    FieldType.ENUM: "integer",
    FieldType.GUID: "uuid",
    FieldType.BOOLEAN: "boolean",
    FieldType.BINARY: "bytea",
    FieldType.TIME: "integer",
}

FIELD_NO_VALUE: dict[FieldType, str] = {
    FieldType.STRING: "''",
    FieldType.INT: "0",
    FieldType.INT64: "0",
    FieldType.REAL: "0",
    FieldType.DATE: "date '1900-01-01'",
    FieldType.DATE_TIME: "timestamptz '1900-01-01 00:00:00+00'",
    FieldType.ENUM: "0",
    FieldType.GUID: "uuid '00000000-0000-0000-0000-000000000000'",
    FieldType.BOOLEAN: "false",
    FieldType.BINARY: "''::bytea",
    FieldType.TIME: "0",
}
"""F&O knows no null: the SQL literal that stands for "no value" of each type, and the default of each column."""
