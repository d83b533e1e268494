"""Dataverse tables and their columns and alternate keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

import msgspec

from isthmus.metadata.choice import Option
from isthmus.metadata.types import COLUMN_EDM, COLUMN_POSTGRES, ColumnType

RequiredLevel = Literal["None", "Recommended", "ApplicationRequired", "SystemRequired"]
Ownership = Literal["UserOwned", "OrganizationOwned", "BusinessOwned", "None"]


class Column(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column of a Dataverse table.

    `max_length` counts characters; `precision` counts decimals; `min`/`max` bound numbers; `targets` are the tables a
    lookup may point at (more than one: polymorphic); `format` is Dataverse's (DateOnly, Email, Url, Phone).
    """

    name: str
    type: ColumnType
    display_name: str = ""
    required_level: RequiredLevel = "None"
    max_length: int | None = None
    precision: int | None = None
    min: float | None = None
    max: float | None = None
    targets: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    format: str | None = None
    default: str | int | float | bool | None = None
    read_only: bool = False

    @property
    def is_polymorphic(self) -> bool:
        """Whether the lookup may point at rows of several tables; the table's name is then stored beside the id."""
        return len(self.targets) > 1

    @property
    def type_column(self) -> str:
        """Physical column that holds the table name of a polymorphic lookup."""
        return f"{self.name}type"

    @property
    def is_date_only(self) -> bool:
        return self.type is ColumnType.DATE_TIME and self.format == "DateOnly"

    @property
    def is_stored(self) -> bool:
        """Whether the table holds the column; the parties of an activity are rows of their own."""
        return self.type is not ColumnType.PARTY_LIST

    @property
    def edm(self) -> str:
        return "Edm.Date" if self.is_date_only else COLUMN_EDM[self.type]

    @property
    def postgres(self) -> str:
        return "date" if self.is_date_only else COLUMN_POSTGRES[self.type]

    @property
    def wire_name(self) -> str:
        """Name of the property on the Web API: a lookup's id is `_<name>_value`."""
        return f"_{self.name}_value" if self.type.is_lookup else self.name


class AlternateKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alternate key: columns of the table (lookups included) whose values identify one row."""

    name: str
    columns: tuple[str, ...]


class Table(msgspec.Struct, frozen=True, kw_only=True, dict=True, forbid_unknown_fields=True):
    """A Dataverse table.

    `company_column` names the lookup to cdm_company of a company-specific table; None means the table is global.
    """

    logical_name: str
    schema_name: str
    entity_set_name: str
    display_name: str
    primary_id: str
    primary_name: str | None = None
    ownership: Ownership = "UserOwned"
    company_column: str | None = None
    is_activity: bool = False
    columns: tuple[Column, ...] = ()
    keys: tuple[AlternateKey, ...] = ()
    solution: str = ""

    @cached_property
    def column(self) -> dict[str, Column]:
        """Columns by logical name."""
        return {column.name: column for column in self.columns}


Derived = TypeVar("Derived")
Arguments = ParamSpec("Arguments")


def per_table(
    work_out: Callable[Concatenate[Table, Arguments], Derived],
) -> Callable[Concatenate[Table, Arguments], Derived]:
    """Work something out of a table's definition once for each set of (hashable) arguments, and keep it with it."""
    name = f"{work_out.__module__}.{work_out.__qualname__}"

    @wraps(work_out)
    def find(table: Table, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Derived:
        known: dict[Any, Derived] = table.__dict__.setdefault(name, {})
        key = (args, tuple(kwargs.items())) if kwargs else args
        try:
            return known[key]
        except KeyError:
            found = known[key] = work_out(table, *args, **kwargs)
            return found

    return cast("Callable[Concatenate[Table, Arguments], Derived]", find)
