"""System columns: what Dataverse adds to a table when it is created, so that no table file has to list it.

A table has the *audit* columns, and by its ownership the *owner* columns; *state* columns where it can be deactivated.
A table file that lists a column of the same name replaces it; `system_columns` in the file replaces the groups.
"""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.metadata.choice import Option
from isthmus.metadata.table import Column, Ownership
from isthmus.metadata.types import ColumnType


def _user(name: str, display_name: str) -> Column:
    return Column(name=name, type=ColumnType.LOOKUP, display_name=display_name, targets=("systemuser",), read_only=True)


_AUDIT = (
    Column(name="createdon", type=ColumnType.DATE_TIME, display_name="Created On", read_only=True),
    _user("createdby", "Created By"),
    Column(name="modifiedon", type=ColumnType.DATE_TIME, display_name="Modified On", read_only=True),
    _user("modifiedby", "Modified By"),
    _user("createdonbehalfby", "Created By (Delegate)"),
    _user("modifiedonbehalfby", "Modified By (Delegate)"),
    Column(name="overriddencreatedon", type=ColumnType.DATE_TIME, display_name="Record Created On"),
    Column(name="importsequencenumber", type=ColumnType.INTEGER, display_name="Import Sequence Number"),
    Column(name="timezoneruleversionnumber", type=ColumnType.INTEGER, display_name="Time Zone Rule Version Number"),
    Column(name="utcconversiontimezonecode", type=ColumnType.INTEGER, display_name="UTC Conversion Time Zone Code"),
    Column(name="versionnumber", type=ColumnType.BIG_INT, display_name="Version Number", read_only=True),
)
_OWNER = (
    Column(
        name="ownerid",
        type=ColumnType.OWNER,
        display_name="Owner",
        required_level="SystemRequired",
        targets=("systemuser", "team"),
    ),
    Column(
        name="owningbusinessunit",
        type=ColumnType.LOOKUP,
        display_name="Owning Business Unit",
        targets=("businessunit",),
        read_only=True,
    ),
    _user("owninguser", "Owning User"),
    Column(name="owningteam", type=ColumnType.LOOKUP, display_name="Owning Team", targets=("team",), read_only=True),
)
_STATE = (
    Column(
        name="statecode",
        type=ColumnType.STATE,
        display_name="Status",
        required_level="SystemRequired",
        options=(Option(0, "Active"), Option(1, "Inactive")),
        default=0,
    ),
    Column(
        name="statuscode",
        type=ColumnType.STATUS,
        display_name="Status Reason",
        options=(Option(1, "Active", 0), Option(2, "Inactive", 1)),
        default=1,
    ),
)

GROUPS: dict[str, tuple[Column, ...]] = {"audit": _AUDIT, "owner": _OWNER, "state": _STATE}
"""System columns by the name of their group, in the order in which they stand in a table."""

SYSTEM_COLUMN_NAMES = frozenset(column.name for group in GROUPS.values() for column in group)


def groups_of(ownership: Ownership) -> tuple[str, ...]:
    """The groups a table of this ownership has when its file doesn't say."""
    return ("audit", "owner", "state") if ownership == "UserOwned" else ("audit", "state")


def with_system_columns(columns: Iterable[Column], groups: Iterable[str]) -> tuple[Column, ...]:
    """The columns of a file and the system columns of `groups` that the file doesn't list itself."""
    listed = tuple(columns)
    names = {column.name for column in listed}
    return (*listed, *(column for group in groups for column in GROUPS[group] if column.name not in names))


def without_system_columns(columns: Iterable[Column]) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The columns a file has to list, and the groups that give the others back."""
    listed = tuple(columns)
    names = {column.name for column in listed}
    groups = tuple(name for name, group in GROUPS.items() if names.issuperset(column.name for column in group))
    implied = {column for name in groups for column in GROUPS[name]}
    return tuple(column for column in listed if column not in implied), groups
