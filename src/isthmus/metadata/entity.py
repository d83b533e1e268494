"""F&O tables and the data entities that read and write over them."""

from __future__ import annotations

from functools import cached_property

import msgspec

from isthmus.metadata.types import FIELD_POSTGRES, FieldType


class TableField(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field of an F&O table. `max_length` counts characters, None means no limit.

    `number_sequence` names the sequence that fills the field of a new row when it is left empty, whichever entity the
    row is made through (an electronic address made through a customer has no field for its own number).
    """

    name: str
    type: FieldType
    enum: str | None = None
    max_length: int | None = None
    number_sequence: str | None = None

    @property
    def column(self) -> str:
        """Physical column name."""
        return self.name.lower()

    @property
    def postgres(self) -> str:
        return FIELD_POSTGRES[self.type]


class FinopsTable(msgspec.Struct, frozen=True, kw_only=True, dict=True, forbid_unknown_fields=True):
    """An F&O table. Every one also has RecId, and DataAreaId when company-specific; neither is listed in `fields`.

    `unique_indexes` list field names; DataAreaId leads every index of a company-specific table unnamed.
    """

    name: str
    company_specific: bool
    fields: tuple[TableField, ...]
    unique_indexes: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    label: str = ""
    solution: str = ""

    @cached_property
    def field(self) -> dict[str, TableField]:
        """Fields by lower-case name."""
        return {field.name.lower(): field for field in self.fields}

    @property
    def relation(self) -> str:
        """Physical table name."""
        return self.name.lower()


class DataSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One data source of an entity: a table, and how its row is joined to the row of its parent source.

    The first source of an entity is its root and has no parent. `on` pairs are (field of this table, field of the
    parent's table), RecId and DataAreaId among them. `fixed` are field values that the join asks for and that a new row
    of this source gets, such as `{"IsPrimary": 1}`; on the root they are the range of the entity: rows of the table
    without them are none of its records. `outer` sources may be absent from a record; a write that gives one of their
    fields a value creates them. `current` picks the row of a date-effective table that is valid now. `created` is
    whether a write may create the row at all (the party that an address belongs to must be there already).
    """

    name: str
    table: str
    parent: str | None = None
    on: tuple[tuple[str, str], ...] = ()
    fixed: dict[str, str | int] = {}
    outer: bool = True
    current: bool = False
    created: bool = True


class EntityField(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field of a data entity: its public name and the field of the data source it reads and writes.

    `mandatory` fields must have a value on create. `number_sequence` names the sequence that fills the field when it is
    left empty. `read_only` fields are ignored by writes (values that F&O computes).
    """

    name: str
    type: FieldType
    source: str
    field: str
    enum: str | None = None
    max_length: int | None = None
    mandatory: bool = False
    read_only: bool = False
    number_sequence: str | None = None

    @property
    def column(self) -> str:
        """Physical column of the entity's view."""
        return self.name.lower()


class EntityRelation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A navigation property: `on` pairs are (field of this entity, field of the related entity)."""

    name: str
    entity: str
    many: bool
    on: tuple[tuple[str, str], ...]


class Entity(msgspec.Struct, frozen=True, kw_only=True, dict=True, forbid_unknown_fields=True):
    """A data entity, public on OData as the entity set `collection`.

    `keys` are field names, `dataAreaId` among them when `company_specific`. `ranges` are X++ query ranges that every
    record of the entity fulfils (on fields of the entity).
    """

    aot_name: str
    public_name: str
    collection: str
    label: str = ""
    company_specific: bool
    keys: tuple[str, ...]
    data_sources: tuple[DataSource, ...]
    fields: tuple[EntityField, ...]
    relations: tuple[EntityRelation, ...] = ()
    read_only: bool = False
    solution: str = ""

    @cached_property
    def field(self) -> dict[str, EntityField]:
        """Fields by lower-case name: field names of maps are written in capitals."""
        return {field.name.lower(): field for field in self.fields}

    @cached_property
    def source(self) -> dict[str, DataSource]:
        """Data sources by name."""
        return {source.name: source for source in self.data_sources}

    @property
    def root(self) -> DataSource:
        return self.data_sources[0]

    @property
    def relation(self) -> str:
        """Physical name of the view that reads the entity."""
        return self.aot_name.lower()


class NumberSequence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number sequence: `format` holds one run of `#` that is replaced by the padded number, as in `US-######`.

    A company-specific sequence counts per legal entity.
    """

    name: str
    format: str
    company_specific: bool = False
    start: int = 1
