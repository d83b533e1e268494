"""The one query model: what OData, FetchXML and X++ ranges are parsed into, and what SQL is compiled from.

A `Relation` says what can be asked of one table or entity; a `Query` says what is asked. Both are free of any half:
the halves build relations from their catalog, the parsers build queries against relations.

Conditions have two values, as OData's have: a comparison with null is false, and `ne` and `not` are the exact opposite
of what they negate. So a row without a revenue answers `revenue ne 5` and `not (revenue gt 5)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

import msgspec

Dialect = Literal["dataverse", "finops"]
"""Whose habits a query follows: those of the Dataverse Web API, or of F&O's OData endpoint."""


class Kind(StrEnum):
    """What a queryable column holds; decides comparison, literal conversion and wire text."""

    TEXT = "text"
    INTEGER = "integer"
    BIG_INT = "bigint"
    DECIMAL = "decimal"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    UUID = "uuid"
    TIMESTAMP = "timestamp"
    DATE = "date"
    CHOICE = "choice"
    """An option value (Dataverse): an integer with labels."""
    CHOICES = "choices"
    """Several option values (Dataverse): an integer array, comma-separated on the wire."""
    ENUM = "enum"
    """A member of an F&O enum: an integer in the database, its symbol on the wire."""
    BINARY = "binary"


NUMBERS = frozenset({Kind.INTEGER, Kind.BIG_INT, Kind.DECIMAL, Kind.DOUBLE, Kind.CHOICE})
"""Kinds that compare with one another as numbers."""


class QueryColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One column that can be selected, filtered and ordered by.

    `name` is its name on the wire, `physical` the column of the relation. `labels` maps values to labels (choices,
    booleans as 0 and 1) or symbols (enums). `scale` is the number of decimals shown; `lookup_targets` the relations a
    lookup may point at; `type_column` the physical column that says which one, when there are several, and
    `associated` the navigation property that annotations name then, when one stands for all. `wire_date` is F&O's date
    that is a timestamp on the wire. A column is `nullable` unless the database forbids null in it.
    """

    name: str
    physical: str
    kind: Kind
    labels: Mapping[int, str] = {}
    enum_type: str | None = None
    scale: int | None = None
    lookup_targets: tuple[str, ...] = ()
    type_column: str | None = None
    associated: str | None = None
    wire_date: bool = False
    nullable: bool = True


class Intersect(msgspec.Struct, frozen=True, kw_only=True):
    """The table between two in a many-to-many relationship.

    `ours` pairs are (its column, our column), `theirs` (its column, the target's column); physical names. `sql_name` is
    its quoted, schema-qualified name.
    """

    sql_name: str
    ours: tuple[tuple[str, str], ...]
    theirs: tuple[tuple[str, str], ...]


class Navigation(msgspec.Struct, frozen=True, kw_only=True):
    """A navigation property: rows of relation `target` whose `on` columns (theirs, ours: physical names) are equal.

    `where` adds physical columns of ours that must hold a text, such as the type column of a polymorphic lookup.
    `where_target` is the same for columns of the target. A many-to-many one goes through `intersect` instead of `on`.
    """

    name: str
    target: str
    many: bool
    on: tuple[tuple[str, str], ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    where_target: tuple[tuple[str, str], ...] = ()
    intersect: Intersect | None = None


class Relation(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One table or view that queries run over.

    `sql_name` is its quoted, schema-qualified name. `columns` and `navigations` are keyed by lower-case wire name.
    `key` lists physical columns that identify a row and make any order total; each is one of `columns`. `no_null` is
    F&O's rule: null and the type's "no value" are the same. `etag` is an SQL expression over `{alias}` (text), or
    None. `primary_name` is the physical column whose value stands for the row in annotations.
    """

    name: str
    sql_name: str
    columns: Mapping[str, QueryColumn]
    navigations: Mapping[str, Navigation]
    key: tuple[str, ...]
    no_null: bool = False
    etag: str | None = None
    primary_name: str | None = None
    set_name: str = ""

    @cached_property
    def physical(self) -> Mapping[str, QueryColumn]:
        """Columns by physical name."""
        return {column.physical: column for column in self.columns.values()}


Relations = Mapping[str, Relation]
"""Relations by name, so that navigations can be followed."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, for query functions such as EqualUserId. `language` is a locale id (1033 is English)."""

    user_id: UUID
    business_unit_id: UUID | None = None
    team_ids: tuple[UUID, ...] = ()
    language: int = 1033


class Path(msgspec.Struct, frozen=True):
    """A column, reached through zero or more single-valued navigation properties.

    `outer` is 0 for a column of the relation the condition is about; inside a lambda, 1 is the relation around it, and
    so on. `no_null` says that null in it means the type's "no value".
    """

    navigations: tuple[Navigation, ...]
    column: QueryColumn
    outer: int = 0
    no_null: bool = False

    @property
    def kind(self) -> Kind:
        return self.column.kind


class Value(msgspec.Struct, frozen=True):
    """A value given in the query text; always bound, unless a map filter is compiled with `inline`.

    None is null. `slot` is the number of the literal in the query text and `convert` makes a value of such a literal's
    text, so that a compiled query serves other literals too; None for values that stand in no query text.
    """

    value: Any
    kind: Kind
    slot: int | None = None
    convert: Callable[[str], Any] | None = None


class CallerValue(msgspec.Struct, frozen=True):
    """What a query function asks of the caller: a field of `Caller`."""

    field: Literal["user_id", "business_unit_id", "team_ids", "language"]
    kind: Kind


class Function(msgspec.Struct, frozen=True):
    """A function of values, such as `tolower`, `year`, `concat`, or an arithmetic operator such as `add`."""

    name: str
    arguments: tuple[Expression, ...]
    kind: Kind


Expression = Path | Value | Function | CallerValue


Operator = Literal["eq", "ne", "gt", "ge", "lt", "le"]


class Comparison(msgspec.Struct, frozen=True):
    """Two values compared."""

    operator: Operator
    left: Expression
    right: Expression


class In(msgspec.Struct, frozen=True):
    """A value among several."""

    left: Expression
    values: tuple[Value, ...]


class Match(msgspec.Struct, frozen=True):
    """Text that contains, starts with, ends with, or is like a pattern with `*` and `?` (X++ and F&O's OData)."""

    how: Literal["contains", "startswith", "endswith", "like"]
    left: Expression
    right: Expression


class Not(msgspec.Struct, frozen=True):
    condition: Condition


class And(msgspec.Struct, frozen=True):
    """All of `conditions`; true when there is none."""

    conditions: tuple[Condition, ...]


class Or(msgspec.Struct, frozen=True):
    """At least one of `conditions`; false when there is none."""

    conditions: tuple[Condition, ...]


class Truth(msgspec.Struct, frozen=True):
    """A boolean expression used as a condition."""

    expression: Expression


class Lambda(msgspec.Struct, frozen=True):
    """`any`/`all` over a collection-valued navigation property, reached through single-valued ones.

    `condition` is None for a bare `any()`. Paths inside it with `outer` 0 start at the collection's relation. `outer`
    of the lambda itself says where `through` starts.
    """

    how: Literal["any", "all"]
    through: tuple[Navigation, ...]
    navigation: Navigation
    condition: Condition | None
    outer: int = 0


class Custom(msgspec.Struct, frozen=True):
    """A query function of Dataverse that compares a column with more than literals, such as `LastXDays`."""

    name: str
    left: Expression
    arguments: tuple[Expression, ...] = ()


Condition = Comparison | In | Match | Not | And | Or | Truth | Lambda | Custom


class Order(msgspec.Struct, frozen=True):
    expression: Expression
    descending: bool = False


class Expand(msgspec.Struct, frozen=True, kw_only=True):
    """A navigation property to be included, with a query of its own for the related rows."""

    navigation: Navigation
    query: Query


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of one relation. `select` of None means every column; `top` and `skip` count rows."""

    relation: str
    select: tuple[QueryColumn, ...] | None = None
    where: Condition | None = None
    order: tuple[Order, ...] = ()
    expand: tuple[Expand, ...] = ()
    top: Value | None = None
    skip: Value | None = None
    count: bool = False
